// The softmax of one row: p[i] = exp(x[i] - maximum) / sum.
#pragma once

#include "math/row_teams.hpp"

namespace caffe::cuda {

struct RowSoftmax {
  float maximum, sum;  // sum of exp(x[i] - maximum)

  __device__ float probability(float x) const { return expf(x - maximum) / sum; }
};

// x: (length), its values `step` apart. A NaN is left out of the maximum, but not of the sum.
template <class T>
__device__ RowSoftmax measure_row(const T* x, int length, int64_t step) {
  float maximum = -INFINITY;
  for_own_values(x, length, step, [&](int64_t, float value) { maximum = fmaxf(maximum, value); });
  maximum = team_max(maximum);
  float sum = 0;
  for_own_values(x, length, step, [&](int64_t, float value) { sum += expf(value - maximum); });
  return {maximum, team_sum(sum)};
}

}  // namespace caffe::cuda
