// Blobs whose elements lie in memory alike and that may therefore be one.
#pragma once

#include "core/blob.hpp"

namespace caffe {

namespace sharing {

inline bool shares(const Blob& a, const Blob& b) { return a.shared_data() == b.shared_data(); }
inline bool pooled(const Blob& blob) { return blob.data_pooled() || blob.diff_pooled(); }

inline void stop_sharing(Blob& top) {
  Blob own(top.dtype(), Layout::plain, top.device());
  own.reshape(top.shape());
  top.share_data(own);
  top.share_diff(own);
}

}  // namespace sharing

// Whether equal indices of two blobs of one shape mean equal places. Strides of axes with one element do not
// matter.
inline bool same_memory(const Blob& a, const Blob& b) {
  const auto left = a.strides(), right = b.strides();
  for (size_t axis = 0; axis < left.size(); ++axis)
    if (a.dim(axis) > 1 && left[axis] != right[axis]) return false;
  return true;
}

// Makes the top share the bottom's storages where both lie in memory alike, and says whether it does. Not if
// that comes up after the plan, which knows nothing of it, has given one of them a place in an arena.
inline bool share_if_alike(const Blob& bottom, Blob& top) {
  using namespace sharing;
  const bool alike = bottom.dtype() == top.dtype() && same_memory(bottom, top);
  if (alike && (shares(bottom, top) || !(pooled(bottom) || pooled(top)))) {
    top.share_data(bottom);
    top.share_diff(bottom);
    return true;
  }
  if (shares(bottom, top)) stop_sharing(top);
  return false;
}

}  // namespace caffe
