// Kernels of pooling, forward, for any window. A thread makes 16 bytes of the output: some channels of a
// place, from those of the window, which neighbours find in the cache.
#pragma once

#include <cmath>

#include "core/pack.hpp"
#include "math/philox.hpp"
#include "math/pooling_windows.hpp"
#include "math/taken.hpp"

namespace caffe::cuda {

// The maximum of some channels so far, and where it is.
template <class T, class Number, int kCount>
struct Maximum {
  float best[kCount];
  int number[kCount];

  __device__ Maximum() {
#pragma unroll
    for (int k = 0; k < kCount; ++k) {
      best[k] = lowest<T>();
      number[k] = static_cast<int>(kNone<Number>);
    }
  }
  __device__ void take(const Pack<T, kCount>& values, int place) {
#pragma unroll
    for (int k = 0; k < kCount; ++k) {
      const float value = values.at[k];
      if (!(value > best[k])) continue;
      best[k] = value;
      number[k] = place;
    }
  }
  __device__ void store(T* y) const {
    Pack<T, kCount> pack;
#pragma unroll
    for (int k = 0; k < kCount; ++k) pack.at[k] = best[k];
    store_pack(y, pack);
  }
  // Only maxima above `floor` are taken.
  __device__ void store_numbers(float floor, Number* taken) const {
    Pack<Number, kCount> pack;
#pragma unroll
    for (int k = 0; k < kCount; ++k)
      pack.at[k] = best[k] > floor ? static_cast<Number>(number[k]) : kNone<Number>;
    store_pack(taken, pack);
  }
};

// x: (images, h.in, w.in, channels), y, taken: (images, h.out, w.out, channels); one thread for each of
// `items` packs of y. Either of y and taken may be null.
template <int kCount, class T, class Number>
__global__ void max_pooling_forward_kernel(Geometry g, uint32_t items, const T* x, float floor, T* y,
                                           Number* taken) {
  if (item_of_thread() >= items) return;
  const Place to = place_of<kCount>(item_of_thread(), g.by_packs, g.w.by_out, g.h.by_out);
  Maximum<T, Number, kCount> maximum;
  for_each_in_window(g, to.n, to.y, to.x, [&](int offset, int number) {
    maximum.take(load_pack<T, kCount>(x + offset + to.c), number);
  });
  const int offset = g.out_offset(to.n, to.y, to.x) + to.c;
  if (y) maximum.store(y + offset);
  if (taken) maximum.store_numbers(floor, taken + offset);
}

// taken, places: (images, h.out, w.out, channels). Numbers within the window to places h * W + w of the
// image.
template <class Number>
__global__ void pooling_places_kernel(Geometry g, uint32_t items, const Number* taken, float* places) {
  const uint32_t item = item_of_thread();
  if (item >= items) return;
  const Place to = place_of<1>(item, g.by_packs, g.w.by_out, g.h.by_out);
  const int number = static_cast<int>(taken[item]);
  const int y = g.h.start(to.y) + number / g.w.kernel, x = g.w.start(to.x) + number % g.w.kernel;
  places[item] = taken[item] == kNone<Number> ? -1.0f : static_cast<float>(y * g.w.in + x);
}

// x: (images, h.in, w.in, channels), y: (images, h.out, w.out, channels); one thread for each pack of y.
template <int kCount, class T>
__global__ void average_pooling_forward_kernel(Geometry g, uint32_t items, const T* x, T* y) {
  if (item_of_thread() >= items) return;
  const Place to = place_of<kCount>(item_of_thread(), g.by_packs, g.w.by_out, g.h.by_out);
  const Range rows = g.h.window(to.y), columns = g.w.window(to.x);
  int height = rows.end - rows.begin, width = columns.end - columns.begin;
  if (width == g.w.in) {  // whole rows, as in global pooling, lie one behind the other
    width *= max(0, height);
    height = 1;
  }
  float sum[kCount] = {};
  for (int row = 0; row < height; ++row) {
    const T* from = x + g.in_offset(to.n, rows.begin + row, columns.begin) + to.c;
#pragma unroll 4
    for (int column = 0; column < width; ++column) {
      const auto values = load_pack<T, kCount>(from + column * g.channels);
#pragma unroll
      for (int k = 0; k < kCount; ++k) sum[k] += static_cast<float>(values.at[k]);
    }
  }
  const float area = max(1.0f, g.area(to.y, to.x));  // a window beyond the padding is empty: 0
  Pack<T, kCount> result;
#pragma unroll
  for (int k = 0; k < kCount; ++k) result.at[k] = sum[k] / area;
  store_pack(y + g.out_offset(to.n, to.y, to.x) + to.c, result);
}

__device__ inline uint32_t draw(const Philox& random, uint32_t element) {
  const auto block = random(element / 4);
  const uint32_t low = element % 2 ? block[1] : block[0], high = element % 2 ? block[3] : block[2];
  return element % 4 < 2 ? low : high;
}

// As for the maximum, one thread for each element of y. Draws a threshold in (0, total] and takes the first
// element where the running sum reaches it.
template <class T, class Number>
__global__ void stochastic_pooling_train_kernel(Geometry g, uint32_t items, uint64_t seed, uint64_t stream,
                                                const uint64_t* iteration, const T* x, T* y, Number* taken) {
  const uint32_t item = item_of_thread();
  if (item >= items) return;
  const Place to = place_of<1>(item, g.by_packs, g.w.by_out, g.h.by_out);
  float total = 0, sum = 0;
  for_each_in_window(g, to.n, to.y, to.x,
                     [&](int offset, int) { total += static_cast<float>(x[offset + to.c]); });
  const float threshold = total * (1.0f - uniform01(draw(Philox(seed, stream, *iteration), item)));
  T value = 0.0f;
  Number place = kNone<Number>;
  for_each_in_window(g, to.n, to.y, to.x, [&](int offset, int number) {
    sum += static_cast<float>(x[offset + to.c]);
    if (place != kNone<Number> || !(sum >= threshold)) return;
    place = static_cast<Number>(number);
    value = x[offset + to.c];
  });
  y[item] = value;
  taken[item] = place;
}

template <class T>
__global__ void stochastic_pooling_test_kernel(Geometry g, uint32_t items, const T* x, T* y) {
  const uint32_t item = item_of_thread();
  if (item >= items) return;
  const Place to = place_of<1>(item, g.by_packs, g.w.by_out, g.h.by_out);
  float sum = 0, squares = 0;
  for_each_in_window(g, to.n, to.y, to.x, [&](int offset, int) {
    const float value = x[offset + to.c];
    sum += value;
    squares += value * value;
  });
  y[item] = sum > 0 ? squares / sum : 0.0f;
}

}  // namespace caffe::cuda
