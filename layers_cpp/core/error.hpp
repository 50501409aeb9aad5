// Errors a net's author can cause. The bindings turn each into the Python class of the same name, and the
// graph builder adds file, line and layer there.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace caffe {

struct ConfigError : std::runtime_error {
  using std::runtime_error::runtime_error;
};
struct ShapeError : ConfigError {
  using ConfigError::ConfigError;
};
struct DataError : std::runtime_error {
  using std::runtime_error::runtime_error;
};
struct DeviceError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Joins its arguments into one message: message("got ", 3, " values").
template <class... Parts>
std::string message(const Parts&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  return text.str();
}

}  // namespace caffe
