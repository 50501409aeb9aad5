// y = f(x, the coefficients of its place), each value read and written once; math/columns.hpp says how.
#pragma once

#include "math/columns.hpp"

namespace caffe::cuda {

// What is mapped is an Op with
//   Value                      the type of the arrays
//   kInputs, kOutputs          how many there are
//   in[kInputs], out[kOutputs] the arrays; an output may be an input
//   Channel channel(int k)     the coefficients k
//   void apply(const Channel&, const float (&x)[kInputs], float (&y)[kOutputs])

template <class Op>
constexpr int kMapInFlight = 8 / (Op::kInputs * Op::kOutputs);  // as registers allow: 64 KiB a multiprocessor
constexpr int64_t kMapRows = 32;                                // make up for fetching the coefficients

template <int kCount, class Op>
__global__ void __launch_bounds__(kColumnThreads, 2) coefficient_map_kernel(Op op, Columns walk) {
  // op.in[i], op.out[i]: (a, b, r, d)
  constexpr int kInFlight = kMapInFlight<Op>;
  const ColumnPlace place(walk);
  if (!place.inside) return;
  typename Op::Channel channels[kCount];
#pragma unroll
  for (int i = 0; i < kCount; ++i) channels[i] = op.channel(place.coefficient<kCount>(walk, i));

  // Backwards: what a sum over the same array has read last may still be in the cache.
  const uint32_t step = kInFlight * blockDim.y;
  const int chunks = static_cast<int>((walk.rows + step - 1) / step);
  for (int chunk = chunks - 1 - place.range; chunk >= 0; chunk -= walk.ranges) {
    const uint32_t first = chunk * step + threadIdx.y;
    ColumnValues<typename Op::Value, kCount, Op::kInputs> in[kInFlight];
#pragma unroll
    for (int n = 0; n < kInFlight; ++n)  // past the end the last row again, to be left out below
      in[n].load(op.in, place.offset(walk, min(first + n * blockDim.y, walk.rows - 1)));
#pragma unroll
    for (int n = 0; n < kInFlight; ++n) {
      const uint32_t row = first + n * blockDim.y;
      if (row >= walk.rows) break;
      ColumnValues<typename Op::Value, kCount, Op::kOutputs> out;
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        float x[Op::kInputs], y[Op::kOutputs];
        in[n].get(i, x);
        op.apply(channels[i], x, y);
        out.set(i, y);
      }
      out.store(op.out, place.offset(walk, row));
    }
  }
}

template <int kCount, class Op>
void queue_map(const Context& context, const char* name, const Spread& spread, const Op& op) {
  const Columns walk = make_columns(spread, kCount, kMapInFlight<Op>, 4 * kMultiprocessors, kMapRows);
  launch(context, name, grid_of(walk), coefficient_map_kernel<kCount, Op>, op, walk);
}

// Queues the map. `name` is for error messages.
template <class Op>
void coefficient_map(const Context& context, const char* name, const Spread& spread, const Op& op) {
  constexpr int kCount = 16 / sizeof(typename Op::Value);
  const bool packs =
      in_packs(spread, kCount, op.in) && (packable(op.out[0]) && packable(op.out[Op::kOutputs - 1]));
  if (packs)
    queue_map<kCount>(context, name, spread, op);
  else
    queue_map<1>(context, name, spread, op);
}

}  // namespace caffe::cuda
