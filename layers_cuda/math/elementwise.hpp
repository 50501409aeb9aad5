// One kernel for all that works element by element: 16 bytes a thread and operand, each read and written
// once.
#pragma once

#include <algorithm>

#include "core/launch.hpp"
#include "core/pack.hpp"

namespace caffe::cuda {

constexpr int kElementThreads = 256;

// to[i] = op(from[i]...) for all i < count; to may be one of the operands. `packs` are whole ones.
template <class Op, class To, class... From>
__global__ void elementwise_kernel(Op op, int64_t count, int64_t packs, To* to, const From*... from) {
  constexpr int kCount = static_cast<int>(16 / std::max({sizeof(To), sizeof(From)...}));
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < packs) {
    const int64_t begin = i * kCount;
    Pack<To, kCount> result;
    const auto apply = [&](const Pack<From, kCount>&... values) {
#pragma unroll
      for (int k = 0; k < kCount; ++k) result.at[k] = op(static_cast<float>(values.at[k])...);
    };
    apply(load_pack<From, kCount>(from + begin)...);
    store_pack(to + begin, result);
    return;
  }
  const int64_t rest = packs * kCount + (i - packs);
  if (rest < count) to[rest] = op(static_cast<float>(from[rest])...);
}

// Queues to[i] = op(from[i]...); op takes and returns floats. `name` is for error messages.
template <class Op, class To, class... From>
void elementwise(const Context& context, const char* name, Op op, int64_t count, To* to,
                 const From*... from) {
  constexpr int64_t kCount = static_cast<int64_t>(16 / std::max({sizeof(To), sizeof(From)...}));
  const int64_t packs = packable(to, from...) ? count / kCount : 0;
  const int64_t threads = packs + (count - packs * kCount);
  launch(context, name, grid_for(threads, kElementThreads), elementwise_kernel<Op, To, From...>, op, count,
         packs, to, from...);
}

}  // namespace caffe::cuda
