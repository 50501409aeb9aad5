// Indices as Caffe carries them: float values, truncated towards zero. On both devices.
#pragma once

#include <string>

#include "core/dtype.hpp"
#include "core/error.hpp"

namespace caffe {

// The index that a value stands for, or -1 if that is not one of 0 .. limit - 1. Never undefined: NaN and
// whatever fits no integer are none.
CAFFE_HOST_DEVICE inline int64_t index_of(float value, int64_t limit) {
  if (!(value > -1.0f && value < 2147483648.0f)) return -1;
  const auto index = static_cast<int64_t>(value);
  return index < limit ? index : -1;
}

// Words a value that is no index.
inline std::string bad_index(float value, int64_t place, int64_t limit) {
  return message("index ", value, " at position ", place, " is not in the range 0 to ", limit - 1);
}

// Throws DataError for a value that is no index, so that what follows, in parallel, need not check.
inline void check_indices(const float* values, int64_t count, int64_t limit) {
  for (int64_t i = 0; i < count; ++i)
    if (index_of(values[i], limit) < 0) throw DataError(bad_index(values[i], i, limit));
}

}  // namespace caffe
