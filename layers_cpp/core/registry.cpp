#include "core/registry.hpp"

#include <map>
#include <utility>

#include "core/error.hpp"

namespace caffe {
namespace {

using Key = std::pair<Device, std::string>;

std::map<Key, LayerFactory>& factories() {
  static std::map<Key, LayerFactory> map;
  return map;
}

}  // namespace

Registration::Registration(const std::string& type, Device device, LayerFactory factory) {
  factories()[{device, type}] = std::move(factory);
}

std::shared_ptr<Layer> create_layer(const std::string& type, Device device, const Args& args) {
  const auto found = factories().find({device, type});
  if (found == factories().end())
    throw ConfigError(
        message("layer type '", type, "' has no ", device == Device::cpu ? "CPU" : "CUDA", " kernel"));
  return found->second(args);
}

std::vector<std::string> registered_layers(Device device) {
  std::vector<std::string> names;
  for (const auto& [key, factory] : factories())
    if (key.first == device) names.push_back(key.second);
  return names;
}

}  // namespace caffe
