// Reads a plan that pycaffe_like/plan/file.py wrote, and runs it: a net without Python and protobuf.
//
// The file is little-endian: magic, version, name, arena bytes, then blobs, learned arrays, steps, inputs and
// outputs, each a list with its count before it, and the CRC-32 of all before. Whatever the bytes are,
// reading ends with a net or throws DataError; every count and index is checked.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "core/executor.hpp"

namespace caffe {

class PlannedNet {
 public:
  // Throws DataError for a file that cannot be read or is damaged, ConfigError and ShapeError for a plan that
  // this build cannot run.
  explicit PlannedNet(const std::string& path);

  const std::string& name() const { return name_; }
  const std::map<std::string, BlobPtr>& inputs() const { return inputs_; }
  const std::map<std::string, BlobPtr>& outputs() const { return outputs_; }

  void forward() { executor_->forward(0, executor_->size()); }

 private:
  std::string name_;
  std::map<std::string, BlobPtr> inputs_, outputs_;
  std::unique_ptr<Executor> executor_;
};

}  // namespace caffe
