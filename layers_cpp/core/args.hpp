// The keyword arguments of a layer's constructor, as its Python mapping gives them: canonical and complete. A
// missing or mistyped one is a mistake of the mapping, not of the user.
#pragma once

#include <map>
#include <stdexcept>
#include <string>
#include <variant>
#include <vector>

namespace caffe {

class Args {
 public:
  using Value = std::variant<bool, int64_t, double, std::string, std::vector<int64_t>, std::vector<double>>;

  void set(const std::string& name, Value value) { values_[name] = std::move(value); }

  bool flag(const std::string& name) const { return get<bool>(name); }
  int64_t integer(const std::string& name) const { return get<int64_t>(name); }
  const std::string& text(const std::string& name) const { return get<std::string>(name); }

  float real(const std::string& name) const {
    const Value& value = find(name);
    if (const auto* whole = std::get_if<int64_t>(&value)) return static_cast<float>(*whole);
    return static_cast<float>(get<double>(name));
  }
  std::vector<int64_t> integers(const std::string& name) const {
    if (empty_list(name)) return {};
    return get<std::vector<int64_t>>(name);
  }
  std::vector<float> reals(const std::string& name) const {
    if (empty_list(name)) return {};
    const Value& value = find(name);
    if (const auto* whole = std::get_if<std::vector<int64_t>>(&value))
      return std::vector<float>(whole->begin(), whole->end());
    const auto& values = get<std::vector<double>>(name);
    return std::vector<float>(values.begin(), values.end());
  }

 private:
  const Value& find(const std::string& name) const {
    const auto found = values_.find(name);
    if (found == values_.end()) throw std::logic_error("layer argument '" + name + "' is missing");
    return found->second;
  }
  template <class T>
  const T& get(const std::string& name) const {
    const T* value = std::get_if<T>(&find(name));
    if (!value) throw std::logic_error("layer argument '" + name + "' has the wrong type");
    return *value;
  }
  // An empty Python list carries no element type.
  bool empty_list(const std::string& name) const {
    const Value& value = find(name);
    const auto* whole = std::get_if<std::vector<int64_t>>(&value);
    const auto* reals = std::get_if<std::vector<double>>(&value);
    return (whole && whole->empty()) || (reals && reals->empty());
  }

  std::map<std::string, Value> values_;
};

}  // namespace caffe
