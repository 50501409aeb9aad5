#include "math/cudnn_cache.hpp"

#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>

namespace caffe::cuda {
namespace {

// The hash FNV-1a with 64 bits, in hexadecimal digits.
std::string hash(const std::string& text) {
  uint64_t state = 0xcbf29ce484222325u;
  for (const char byte : text) state = (state ^ static_cast<unsigned char>(byte)) * 0x100000001b3u;
  std::ostringstream digits;
  digits << std::hex << state;
  return digits.str();
}

std::filesystem::path file_of(const std::string& folder, const std::string& key) {
  return std::filesystem::path(folder) / (hash(key) + ".txt");
}

// What comes before the text in a file: two keys may have one hash, and a file may be cut off or changed.
std::string heading(const std::string& key, const std::string& text) {
  return key + "\n" + hash(text) + "\n";
}

}  // namespace

std::optional<std::string> Cache::find(const std::string& key) const {
  std::ifstream file(file_of(folder_, key), std::ios::binary);
  const std::string contents{std::istreambuf_iterator<char>(file), {}};
  const size_t line = contents.find('\n'), next = contents.find('\n', line + 1);
  if (line == std::string::npos || next == std::string::npos) return std::nullopt;
  std::string text = contents.substr(next + 1);
  if (contents.compare(0, next + 1, heading(key, text)) != 0) return std::nullopt;
  return text;
}

// To a file of its own first, so that no other process ever reads half of it.
void Cache::remember(const std::string& key, const std::string& text) const {
  if (folder_.empty()) return;
  const std::filesystem::path file = file_of(folder_, key);
  const std::string draft = file.string() + "." + std::to_string(getpid());
  std::error_code failed;
  std::filesystem::create_directories(folder_, failed);
  bool written = false;
  {
    std::ofstream stream(draft, std::ios::binary);
    stream << heading(key, text) << text;
    written = static_cast<bool>(stream.flush());
  }
  if (written) std::filesystem::rename(draft, file, failed);
  if (!written || failed) std::filesystem::remove(draft, failed);
}

std::string cache_folder(const std::string& name) {
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
