// The vectors along one axis of a blob, whatever its layout: how many, how long, and where each begins. They
// are numbered in logical order (all axes but that one, the last fastest), which is the order of the labels
// of a loss.
#pragma once

#include "core/blob.hpp"

namespace caffe {

class Rows {
 public:
  Rows() = default;

  // What is behind the first axis of a plain blob, as one vector for each index along that axis.
  explicit Rows(const Shape& shape) : count(shape[0]), length(caffe::count(shape, 1)), step(1) {
    dims_ = {count};
    strides_ = {length};
  }

  Rows(const Blob& blob, size_t axis) : length(blob.dim(axis)), step(blob.strides()[axis]) {
    const std::vector<int64_t> strides = blob.strides();
    for (size_t other = 0; other < strides.size(); ++other) {
      if (other == axis || blob.dim(other) == 1) continue;
      // Two axes that lie in memory like one are one.
      if (!dims_.empty() && strides_.back() == strides[other] * blob.dim(other)) {
        dims_.back() *= blob.dim(other);
        strides_.back() = strides[other];
      } else {
        dims_.push_back(blob.dim(other));
        strides_.push_back(strides[other]);
      }
    }
    count = length > 0 ? blob.count() / length : 0;
    if (length == 1) step = 1;
  }

  // Elements from the start of the blob to the start of a row.
  int64_t offset(int64_t row) const {
    if (dims_.size() == 1) return row * strides_[0];
    int64_t sum = 0;
    for (size_t axis = dims_.size(); axis-- > 0; row /= dims_[axis])
      sum += row % dims_[axis] * strides_[axis];
    return sum;
  }
  bool contiguous() const { return step == 1; }

  // The axes that number the rows, neighbours joined where they lie in memory like one, and their strides.
  const std::vector<int64_t>& dims() const { return dims_; }
  const std::vector<int64_t>& strides() const { return strides_; }

  int64_t count = 0, length = 0, step = 1;

 private:
  std::vector<int64_t> dims_, strides_;
};

}  // namespace caffe
