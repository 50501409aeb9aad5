#include "core/library.hpp"

#include <dlfcn.h>

#include <filesystem>

#include "core/error.hpp"
#include "core/library_folders.hpp"

namespace caffe::cuda {
namespace {

constexpr const char* kCure = "install the libraries with: pip install \"pycaffe-like[cuda]\"";

// The process may use another copy already, PyTorch's for example; two of them would get in each other's way.
void* loaded(const std::string& file) { return dlopen(file.c_str(), RTLD_NOW | RTLD_NOLOAD); }

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += word + ", ";
  return text;
}

}  // namespace

Library::Library(const std::string& file) : file_(file), handle_(loaded(file)) {
  std::string damage;  // why a file that is there cannot be loaded
  for (const std::string& folder : library_folders()) {
    if (handle_) return;
    const auto path = std::filesystem::path(folder) / file;
    std::error_code unreadable;
    if (!std::filesystem::exists(path, unreadable)) continue;
    handle_ = dlopen(path.c_str(), RTLD_NOW);
    if (!handle_) damage = message("\n  ", dlerror());
  }
  if (!handle_) handle_ = dlopen(file.c_str(), RTLD_NOW);
  if (!handle_)
    throw DeviceError(message(file, " is needed to compute on the GPU and cannot be loaded; looked for in ",
                              joined(library_folders()), "and where the system keeps libraries", damage,
                              "\n  ", dlerror(), "\n  ", kCure));
}

void* Library::symbol(const char* name) const {
  if (void* found = dlsym(handle_, name)) return found;
  throw DeviceError(message(file_, " has no function ", name, ": it is too old\n  ", kCure));
}

}  // namespace caffe::cuda
