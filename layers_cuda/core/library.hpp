// NVIDIA's libraries are loaded when they are first used, so that the package can be installed and imported
// without them.
#pragma once

#include <string>

namespace caffe::cuda {

class Library {
 public:
  // Takes `file`, such as libcudnn.so.9, from the process if it is there already, else from
  // library_folders(), else from where the system looks. Throws DeviceError.
  explicit Library(const std::string& file);

  // Sets `function`, a pointer to a function, to what the library calls `name`. Throws DeviceError.
  template <class Function>
  void find(const char* name, Function*& function) const {
    function = reinterpret_cast<Function*>(symbol(name));
  }

 private:
  void* symbol(const char* name) const;

  std::string file_;
  void* handle_;  // for ever: plans live until the process ends
};

}  // namespace caffe::cuda
