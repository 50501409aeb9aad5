// An array on the GPU as other packages take it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/blob.hpp"

namespace caffe {

class DeviceArray {
 public:
  // One of the blob's arrays, which is a view from now on: whoever holds it, or something made of it, may
  // write. Throws DeviceError unless the blob is on the GPU.
  DeviceArray(const Blob& blob, const std::shared_ptr<Storage>& storage);

  const Shape& shape() const { return shape_; }
  const std::vector<int64_t>& strides() const { return strides_; }  // in elements
  DType dtype() const { return dtype_; }
  void* data() const;  // null without elements, as the protocols want it

 private:
  std::shared_ptr<void> memory_;  // ends the view with the last of its holders
  Shape shape_;
  std::vector<int64_t> strides_;
  DType dtype_;
};

}  // namespace caffe
