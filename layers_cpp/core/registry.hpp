// Layer types by name and device. A layer's file ends with one REGISTER_LAYER line; nothing else lists it.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/layer.hpp"

namespace caffe {

using LayerFactory = std::function<std::shared_ptr<Layer>(const Args&)>;

struct Registration {
  Registration(const std::string& type, Device device, LayerFactory factory);
};

// Throws ConfigError when the type has no kernel for the device.
std::shared_ptr<Layer> create_layer(const std::string& type, Device device, const Args& args);
std::vector<std::string> registered_layers(Device device);  // sorted

#define REGISTER_LAYER(type, device, Class)                \
  static const ::caffe::Registration registration_##Class( \
      type, ::caffe::Device::device,                       \
      [](const ::caffe::Args& args) { return std::make_shared<Class>(args); })

}  // namespace caffe
