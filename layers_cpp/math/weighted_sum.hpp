// y = max(sum_i c_i x_i, floor) over any number of arrays, in one pass over memory. NaN passes through.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/dtype.hpp"
#include "core/parallel.hpp"

namespace caffe {

constexpr int64_t kSumBlock = 1024;  // floats of a running sum, to stay in the first-level cache

// Three or more terms: block by block, so that the running sum is kept in float32 and in cache.
template <class T>
void weighted_sum_block(const std::vector<const T*>& x, const std::vector<float>& c, float floor, T* y,
                        int64_t begin, int64_t size) {
  float sum[kSumBlock];
#pragma omp simd
  for (int64_t i = 0; i < size; ++i) sum[i] = c[0] * x[0][begin + i];
  for (size_t term = 1; term < x.size(); ++term) {
    const T* from = x[term] + begin;
    const float factor = c[term];
#pragma omp simd
    for (int64_t i = 0; i < size; ++i) sum[i] += factor * from[i];
  }
#pragma omp simd
  for (int64_t i = 0; i < size; ++i) y[begin + i] = sum[i] < floor ? floor : sum[i];
}

// Needs at least one term; y must not overlap any x.
template <class T>
void weighted_sum(const std::vector<const T*>& x, const std::vector<float>& c, T* y, int64_t count,
                  float floor = -INFINITY) {
  parallel_for(count, kElementwiseGrain, [&](int64_t begin, int64_t end, int) {
    if (x.size() == 2) {
      const T *first = x[0], *second = x[1];
      const float a = c[0], b = c[1];
#pragma omp simd
      for (int64_t i = begin; i < end; ++i) {
        const float sum = a * first[i] + b * second[i];
        y[i] = sum < floor ? floor : sum;
      }
    } else {
      for (int64_t i = begin; i < end; i += kSumBlock)
        weighted_sum_block(x, c, floor, y, i, std::min(kSumBlock, end - i));
    }
  });
}

}  // namespace caffe
