// Which of several ways was found to be the fastest, remembered between processes in a small text file.
#pragma once

#include <map>
#include <string>

namespace caffe::cuda {

// The file is a convenience: one that is damaged, or cannot be read or written, is no error. Lines are
// "key = choice"; key and choice have no " = " and no line end.
class Choices {
 public:
  // Reads `file`; nothing is remembered under an empty name.
  explicit Choices(std::string file);

  std::string find(const std::string& key) const;  // empty if there is none
  // Keeps what other processes have added to the file since.
  void remember(const std::string& key, const std::string& choice);

 private:
  void read();
  void write() const;

  const std::string file_;
  std::map<std::string, std::string> choices_;
};

// File `name` in the user's cache folder for this program; empty if the user has none.
std::string cache_file(const std::string& name);

}  // namespace caffe::cuda
