// Loops over whole arrays that several layers share.
#pragma once

#include "core/dtype.hpp"
#include "core/parallel.hpp"

namespace caffe {

// dy = 0 where y <= 0, in place: backward of a ReLU that was fused into the layer that made y.
template <class T>
void mask_by_relu(const T* y, T* dy, int64_t count) {
  parallel_for(count, kElementwiseGrain, [=](int64_t begin, int64_t end, int) {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) dy[i] = static_cast<float>(y[i]) > 0 ? dy[i] : T(0.0f);
  });
}

// sum += addend
template <class T>
void add_to(float* sum, const T* addend, int64_t count) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) sum[i] += static_cast<float>(addend[i]);
}

}  // namespace caffe
