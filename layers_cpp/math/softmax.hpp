// The softmax of one row: p[i] = exp(x[i] - maximum) / sum. Rows may be strided; a row of step 1 vectorises.
#pragma once

#include "core/parallel.hpp"
#include "math/rows.hpp"
#include "math/vector_math.hpp"

namespace caffe {

struct SoftmaxRow {
  float maximum, sum;  // sum of exp(x[i] - maximum)

  float probability(float x) const { return vector_exp(x - maximum) / sum; }
};

template <class T>
SoftmaxRow measure_row(const T* x, int64_t length, int64_t step) {
  float maximum = x[0];
#pragma omp simd reduction(max : maximum)
  for (int64_t i = 0; i < length; ++i) maximum = std::max(maximum, static_cast<float>(x[i * step]));
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < length; ++i) sum += vector_exp(static_cast<float>(x[i * step]) - maximum);
  return {maximum, sum};
}

// Calls body(row, step) for every row, in parallel. `step` is a compile-time 1 where the rows are contiguous.
template <class Body>
void for_each_row(const Rows& rows, Body&& body) {
  const int64_t grain = kElementwiseGrain / std::max<int64_t>(1, 8 * rows.length);
  parallel_for(rows.count, grain, [&](int64_t begin, int64_t end, int) {
    if (rows.contiguous())
      for (int64_t row = begin; row < end; ++row) body(row, std::integral_constant<int64_t, 1>{});
    else
      for (int64_t row = begin; row < end; ++row) body(row, rows.step);
  });
}

}  // namespace caffe
