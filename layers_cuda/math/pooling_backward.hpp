// Kernels of pooling, backward. A thread makes 16 bytes of dx and looks at the windows over its place; at
// most 3 x 3 of them are unrolled, so that all reads are under way at once.
#pragma once

#include "core/pack.hpp"
#include "math/pooling_windows.hpp"

namespace caffe::cuda {

// What an element gets of the windows over it: of a maximum or a draw, dy where it was taken.
template <int kCount, class T, class Number>
struct TakenTerm {
  const T* dy;
  const Number* taken;

  struct Loaded {
    Pack<T, kCount> dy;
    Pack<Number, kCount> taken;
  };
  __device__ Loaded load(int offset) const {
    return {load_pack<T, kCount>(dy + offset), load_pack<Number, kCount>(taken + offset)};
  }
  __device__ static void add(const Loaded& from, const Geometry&, int, int, int number, float* sum) {
#pragma unroll
    for (int k = 0; k < kCount; ++k)
      sum[k] += static_cast<int>(from.taken.at[k]) == number ? static_cast<float>(from.dy.at[k]) : 0.0f;
  }
};

// Of an average, its share of dy.
template <int kCount, class T>
struct AverageTerm {
  const T* dy;

  using Loaded = Pack<T, kCount>;
  __device__ Loaded load(int offset) const { return load_pack<T, kCount>(dy + offset); }
  __device__ static void add(const Loaded& from, const Geometry& g, int oh, int ow, int, float* sum) {
    const float share = 1.0f / g.area(oh, ow);
#pragma unroll
    for (int k = 0; k < kCount; ++k) sum[k] += share * static_cast<float>(from.at[k]);
  }
};

// Adds up the terms of the windows over a place. kWindows: how many there may be in a direction, 0 for any.
template <int kWindows, class Term>
__device__ void gather(const Geometry& g, const Place& to, const Term& term, float* sum) {
  const Range rows = g.h.windows_over(to.y), columns = g.w.windows_over(to.x);
  if constexpr (kWindows > 0) {
    // More than two rows at once would take too many registers.
#pragma unroll(kWindows < 3 ? kWindows : 1)
    for (int i = 0; i < kWindows; ++i) {
      typename Term::Loaded loaded[kWindows] = {};
      const int oh = rows.begin + i;
#pragma unroll
      for (int j = 0; j < kWindows; ++j)
        if (oh < rows.end && columns.begin + j < columns.end)
          loaded[j] = term.load(g.out_offset(to.n, oh, columns.begin + j) + to.c);
#pragma unroll
      for (int j = 0; j < kWindows; ++j)
        if (oh < rows.end && columns.begin + j < columns.end)
          term.add(loaded[j], g, oh, columns.begin + j, g.number(oh, columns.begin + j, to.y, to.x), sum);
    }
  } else {
    for (int oh = rows.begin; oh < rows.end; ++oh)
      for (int ow = columns.begin; ow < columns.end; ++ow)
        term.add(term.load(g.out_offset(to.n, oh, ow) + to.c), g, oh, ow, g.number(oh, ow, to.y, to.x), sum);
  }
}

// dx: (images, h.in, w.in, channels), what the term reads: (images, h.out, w.out, channels); one thread for
// each pack of dx.
template <int kWindows, int kCount, class T, class Term>
__global__ void pooling_backward_kernel(Geometry g, uint32_t items, Term term, T* dx) {
  if (item_of_thread() >= items) return;
  const Place to = place_of<kCount>(item_of_thread(), g.by_packs, g.w.by_in, g.h.by_in);
  float sum[kCount] = {};
  gather<kWindows>(g, to, term, sum);
  Pack<T, kCount> result;
#pragma unroll
  for (int k = 0; k < kCount; ++k) result.at[k] = sum[k];
  store_pack(dx + g.in_offset(to.n, to.y, to.x) + to.c, result);
}

}  // namespace caffe::cuda
