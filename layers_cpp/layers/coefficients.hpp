// What Scale and Bias share: their coefficients (a learned blob or the second bottom) in the order of the
// first bottom's memory, and their gradients, which are sums.
#pragma once

#include "core/layer.hpp"
#include "core/parallel.hpp"
#include "layers/coefficient_axes.hpp"
#include "math/broadcast.hpp"

namespace caffe {

// Coefficients as float32 in memory order: `values.data` itself where it is that already, else a copy in
// `memory`.
inline const float* pack(const Broadcast& broadcast, Blob& values, float* memory) {
  if (values.dtype() == DType::float32 && !broadcast.packed()) return values.data();
  dispatch(values.dtype(), [&](auto zero) {
    const auto* from = values.data<decltype(zero)>();
    broadcast.for_each_coefficient([&](int64_t logical, int64_t packed) { memory[packed] = from[logical]; });
  });
  return memory;
}

// Writes sums, which are in memory order, to `values.diff`: accumulates into a learned blob, overwrites a
// bottom.
inline void unpack(const Broadcast& broadcast, const double* sums, Blob& values, bool accumulate) {
  dispatch(values.dtype(), [&](auto zero) {
    auto* diff = values.diff<decltype(zero)>();
    broadcast.for_each_coefficient([&](int64_t logical, int64_t packed) {
      const float sum = static_cast<float>(sums[packed]);
      diff[logical] = accumulate ? diff[logical] + sum : sum;
    });
  });
}

// Bytes that sum() needs for `arrays` sums of every coefficient.
inline size_t sum_bytes(const Broadcast& broadcast, int arrays) {
  const int64_t copies = broadcast.disjoint() ? 1 : max_threads();
  return static_cast<size_t>(copies * arrays * broadcast.coefficients()) * sizeof(double);
}

// Runs body(begin, end, sums) on pieces of the elements; what the bodies add to sums[0 .. arrays *
// coefficients) is in `memory` afterwards. Each thread has sums of its own where needed, added up in thread
// order: the same bits every time.
template <class Body>
void sum(const Broadcast& broadcast, int arrays, double* memory, Body&& body) {
  const int64_t size = arrays * broadcast.coefficients();
  std::fill_n(memory, sum_bytes(broadcast, arrays) / sizeof(double), 0.0);
  const int64_t units = broadcast.units();
  if (units == 0) return;
  const int64_t unit = broadcast.count() / units;
  parallel_for(units, kElementwiseGrain / std::max<int64_t>(unit, 1),
               [&](int64_t begin, int64_t end, int thread) {
                 body(begin * unit, end * unit, memory + (broadcast.disjoint() ? 0 : thread * size));
               });
  if (broadcast.disjoint()) return;
  for (int thread = 1; thread < max_threads(); ++thread)
    for (int64_t k = 0; k < size; ++k) memory[k] += memory[thread * size + k];
}

// sums[i] += dy[i] if `each`, else sums[0] += the sum of dy.
template <class T>
void add_sum(const T* dy, int64_t size, bool each, double* sums) {
  if (each) {
#pragma omp simd
    for (int64_t i = 0; i < size; ++i) sums[i] += static_cast<double>(static_cast<float>(dy[i]));
    return;
  }
  double total = 0;
#pragma omp simd reduction(+ : total)
  for (int64_t i = 0; i < size; ++i) total += static_cast<double>(static_cast<float>(dy[i]));
  sums[0] += total;
}

}  // namespace caffe
