// Loops over whole arrays that several layers share.
#pragma once

#include <cstring>

#include "core/dtype.hpp"
#include "core/parallel.hpp"

namespace caffe {

// to[i] = op(from[i]...) for all i < count; op takes and returns floats, `to` may be one of the operands.
// `cost` is how dear op is, in comparisons or so.
template <class Op, class To, class... From>
void elementwise(Op op, int cost, int64_t count, To* to, const From*... from) {
  parallel_for(count, kElementwiseGrain / cost, [=](int64_t begin, int64_t end, int) {
    const Op own = op;  // nobody else's: its numbers stay in registers
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) to[i] = own(static_cast<float>(from[i])...);
  });
}

// The same for one operand that `to` may overwrite; before it is, `kept` gets a copy.
template <class Op, class T>
void elementwise_keeping(Op op, int cost, int64_t count, T* to, const T* from, T* kept) {
  constexpr int64_t kBlock = 1024;  // stays in the first-level cache
  parallel_for(count, kElementwiseGrain / cost, [=](int64_t begin, int64_t end, int) {
    const Op own = op;
    for (int64_t block = begin; block < end; block += kBlock) {
      const int64_t stop = std::min(block + kBlock, end);
      std::memcpy(static_cast<void*>(kept + block), from + block,
                  static_cast<size_t>(stop - block) * sizeof(T));
#pragma omp simd
      for (int64_t i = block; i < stop; ++i) to[i] = own(static_cast<float>(from[i]));
    }
  });
}

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
