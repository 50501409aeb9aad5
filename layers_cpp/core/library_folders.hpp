// Folders in which the GPU part looks first for NVIDIA's libraries: Python knows where pip has put them.
#pragma once

#include <string>
#include <vector>

namespace caffe {

inline std::vector<std::string>& library_folders() {
  static std::vector<std::string> folders;
  return folders;
}

}  // namespace caffe
