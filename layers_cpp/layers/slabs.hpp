// How a blob falls into pieces of consecutive memory along an axis.
#pragma once

#include "core/blob.hpp"

namespace caffe {

// Number of slabs: dims that lie in memory before `axis`. Channels-last and axis 1: a slab is a pixel's
// channels.
inline int64_t slabs_before(const Blob& blob, size_t axis) {
  if (blob.layout() == Layout::plain) return count(blob.shape(), 0, axis);
  if (axis == 0) return 1;
  return axis == 1 ? blob.dim(0) * count(blob.shape(), 2) : blob.dim(0) * count(blob.shape(), 2, axis);
}

}  // namespace caffe
