// Texts remembered between processes, a file for each.
#pragma once

#include <optional>
#include <string>

namespace caffe::cuda {

// It is a convenience: a file that is damaged, or cannot be read or written, is no error but counts as
// absent. Keys are single lines.
class Cache {
 public:
  // Files lie in `folder`, which is made when it is needed; nothing is remembered if it is empty.
  explicit Cache(std::string folder) : folder_(std::move(folder)) {}

  std::optional<std::string> find(const std::string& key) const;
  void remember(const std::string& key, const std::string& text) const;

 private:
  const std::string folder_;
};

// Folder `name` in the user's cache folder for this program; empty if the user has none.
std::string cache_folder(const std::string& name);

}  // namespace caffe::cuda
