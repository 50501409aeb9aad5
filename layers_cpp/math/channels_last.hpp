// From plain to channels-last memory.
#pragma once

#include "core/parallel.hpp"
#include "core/shape.hpp"

namespace caffe {

// from: (N, C, spatial...), to: (N, spatial..., C); `shape` is the logical one.
inline void copy_to_channels_last(const float* from, float* to, const Shape& shape) {
  if (count(shape) == 0) return;
  const int64_t channels = shape[1], spatial = count(shape, 2);
  parallel_for(shape[0] * spatial, kElementwiseGrain / channels, [=](int64_t begin, int64_t end, int) {
    for (int64_t pixel = begin; pixel < end; ++pixel) {
      const float* plane = from + pixel / spatial * channels * spatial + pixel % spatial;
      for (int64_t c = 0; c < channels; ++c) to[pixel * channels + c] = plane[c * spatial];
    }
  });
}

}  // namespace caffe
