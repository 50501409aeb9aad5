#include "math/cudnn_choices.hpp"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace caffe::cuda {
namespace {

constexpr const char* kSeparator = " = ";
constexpr size_t kLongestLine = 4096;

}  // namespace

Choices::Choices(std::string file) : file_(std::move(file)) { read(); }

std::string Choices::find(const std::string& key) const {
  const auto found = choices_.find(key);
  return found == choices_.end() ? "" : found->second;
}

void Choices::remember(const std::string& key, const std::string& choice) {
  read();
  choices_[key] = choice;
  write();
}

void Choices::read() {
  std::ifstream text(file_);
  std::string line;
  while (std::getline(text, line)) {
    const size_t split = line.find(kSeparator);
    if (split == std::string::npos || line.size() > kLongestLine) continue;
    choices_.try_emplace(line.substr(0, split), line.substr(split + std::string(kSeparator).size()));
  }
}

// To a file of its own first, so that no other process ever reads half of it.
void Choices::write() const {
  if (file_.empty()) return;
  const std::string draft = file_ + "." + std::to_string(getpid());
  std::error_code failed;
  std::filesystem::create_directories(std::filesystem::path(file_).parent_path(), failed);
  {
    std::ofstream text(draft);
    for (const auto& [key, choice] : choices_) text << key << kSeparator << choice << '\n';
    if (!text.flush()) return;
  }
  std::filesystem::rename(draft, file_, failed);
  if (failed) std::filesystem::remove(draft, failed);
}

std::string cache_file(const std::string& name) {
  std::filesystem::path folder;
  if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache && *cache)
    folder = cache;
  else if (const char* home = std::getenv("HOME"); home && *home)
    folder = std::filesystem::path(home) / ".cache";
  else
    return "";
  return folder / "pycaffe-like" / name;
}

}  // namespace caffe::cuda
