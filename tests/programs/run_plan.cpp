// Runs a plan from a file: a program with neither Python nor protobuf.
//
//   run_plan PLAN INPUT=FILE ... OUTPUT>FILE ...
//
// Files hold float32 values in the order of the logical axes (N, C, H, W). INPUT and OUTPUT are blobs of the
// net.
#include <cstdio>
#include <exception>
#include <fstream>
#include <string>

#include "core/error.hpp"
#include "core/plan_file.hpp"

namespace caffe {
namespace {

// Calls move(place) for every element of a float32 blob, in logical order.
template <class Move>
void for_each_element(const Blob& blob, Move&& move) {
  const std::vector<int64_t> strides = blob.strides();
  for (int64_t i = 0; i < blob.count(); ++i) {
    int64_t place = 0;
    for (size_t axis = blob.shape().size(), rest = static_cast<size_t>(i); axis-- > 0;) {
      const auto dim = static_cast<size_t>(blob.dim(axis));
      place += static_cast<int64_t>(rest % dim) * strides[axis];
      rest /= dim;
    }
    move(place);
  }
}

Blob& find(const std::map<std::string, BlobPtr>& blobs, const std::string& name) {
  const auto found = blobs.find(name);
  if (found == blobs.end()) throw ConfigError("the net has no blob '" + name + "' at this end");
  return *found->second;
}

void fill(Blob& blob, const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  float* data = blob.data();
  for_each_element(blob,
                   [&](int64_t place) { stream.read(reinterpret_cast<char*>(data + place), sizeof(float)); });
  if (!stream) throw DataError(path + ": fewer values than the blob has");
}

void save(Blob& blob, const std::string& path) {
  std::ofstream stream(path, std::ios::binary);
  const float* data = blob.data();
  for_each_element(
      blob, [&](int64_t place) { stream.write(reinterpret_cast<const char*>(data + place), sizeof(float)); });
  if (!stream.flush()) throw DataError(path + ": cannot be written");
}

void run(int count, char** words) {
  if (count < 2) throw ConfigError("usage: run_plan PLAN INPUT=FILE ... OUTPUT>FILE ...");
  PlannedNet net(words[1]);
  for (int i = 2; i < count; ++i)
    if (const std::string word = words[i]; word.find('=') != std::string::npos)
      fill(find(net.inputs(), word.substr(0, word.find('='))), word.substr(word.find('=') + 1));
  net.forward();
  for (int i = 2; i < count; ++i)
    if (const std::string word = words[i]; word.find('>') != std::string::npos)
      save(find(net.outputs(), word.substr(0, word.find('>'))), word.substr(word.find('>') + 1));
}

}  // namespace
}  // namespace caffe

int main(int count, char** words) {
  try {
    caffe::run(count, words);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "run_plan: %s\n", error.what());
    return 1;
  }
}
