// Kernels of maximum pooling for windows of 2 x 2 and 3 x 3, the ones that most nets have. A thread makes
// 16 bytes of channels at 2 x 2 places, of y forward and of dx backward: what their windows share is read
// once for all of them, and where a value lies in a window is known to the compiler.
#pragma once

#include "core/pack.hpp"
#include "math/pooling_windows.hpp"

namespace caffe::cuda {

constexpr int kSide = 2;  // of a square of places

// How many packs of channels, and squares, there are; a thread for each.
struct Squares {
  Divisor packs, across, down;
};

using Words = Pack<uint32_t>;  // 16 bytes

// What a word holds: a float, or two bfloat16 numbers, the first of them in its lower half. Of the whole
// numbers that go with them it holds as many.
template <class T>
struct Word;

template <>
struct Word<float> {
  static constexpr uint32_t kLowest = 0xff7fffffu, kOnce = 1;

  // All bits of a number where a > b.
  static __device__ uint32_t above(uint32_t a, uint32_t b) {
    return __uint_as_float(a) > __uint_as_float(b) ? 0xffffffffu : 0;
  }
  static __device__ float at(const Words& words, int k) { return __uint_as_float(words.at[k]); }
  // The lowest byte of each whole number.
  static __device__ Pack<uint32_t, 1> bytes(const Words& from) {
    return {__byte_perm(__byte_perm(from.at[0], from.at[1], 0x0040),
                        __byte_perm(from.at[2], from.at[3], 0x0040), 0x5410)};
  }
};

template <>
struct Word<bfloat16> {
  static constexpr uint32_t kLowest = 0xff7fff7fu, kOnce = 0x00010001u;

  static __device__ uint32_t above(uint32_t a, uint32_t b) {
#ifdef __CUDA_ARCH__
    using Pair = const __nv_bfloat162;
    return __hgt2_mask(reinterpret_cast<Pair&>(a), reinterpret_cast<Pair&>(b));
#else
    const bool lower = __uint_as_float(a << 16) > __uint_as_float(b << 16);
    const bool upper = __uint_as_float(a & 0xffff0000u) > __uint_as_float(b & 0xffff0000u);
    return (lower ? 0xffffu : 0) | (upper ? 0xffff0000u : 0);
#endif
  }
  static __device__ float at(const Words& words, int k) {
    return __uint_as_float(k % 2 ? words.at[k / 2] & 0xffff0000u : words.at[k / 2] << 16);
  }
  static __device__ Pack<uint32_t, 2> bytes(const Words& from) {
    return {__byte_perm(from.at[0], from.at[1], 0x6420), __byte_perm(from.at[2], from.at[3], 0x6420)};
  }
};

// kCount words, wherever there is something as long.
template <int kCount, class T>
__device__ inline Pack<uint32_t, kCount> load_words(const T* from) {
  return load_pack<uint32_t, kCount>(reinterpret_cast<const uint32_t*>(from));
}
template <int kCount, class T>
__device__ inline void store_words(T* to, const Pack<uint32_t, kCount>& words) {
  store_pack(reinterpret_cast<uint32_t*>(to), words);
}

__device__ inline uint32_t select(uint32_t mask, uint32_t yes, uint32_t no) {
  return (yes & mask) | (no & ~mask);
}

// The largest values of some channels so far, and the numbers of their places in the window.
template <class T>
struct Largest {
  Words value = all(Word<T>::kLowest), number = all(0xffffffffu);

  static __device__ Words all(uint32_t word) { return {word, word, word, word}; }
  __device__ void take(const Words& values, uint32_t place) {
#pragma unroll
    for (int i = 0; i < Words::count; ++i) {
      const uint32_t larger = Word<T>::above(values.at[i], value.at[i]);
      value.at[i] = select(larger, values.at[i], value.at[i]);
      number.at[i] = select(larger, place * Word<T>::kOnce, number.at[i]);
    }
  }
  // In a byte each; 255 where no value is above the floor.
  __device__ auto numbers(uint32_t floor) const {
    Words taken = number;
#pragma unroll
    for (int i = 0; i < Words::count; ++i) taken.at[i] |= ~Word<T>::above(value.at[i], floor);
    return Word<T>::bytes(taken);
  }
};

__device__ constexpr bool in_map(int row, int column, int height, int width) {
  return row >= 0 && row < height && column >= 0 && column < width;
}

// x: (images, h.in, w.in, channels), y, taken: (images, h.out, w.out, channels), either of which may be null.
// Where there is no value, or with `above_zero` none above 0, nothing is taken.
template <int kWindow, int kStride, class T>
__global__ void max_pooling_forward_squares_kernel(Geometry g, Squares squares, uint32_t items, const T* x,
                                                   bool above_zero, T* y, uint8_t* taken) {
  constexpr int kOver = kWindow + (kSide - 1) * kStride;  // rows, and columns, of the windows of a square
  if (item_of_thread() >= items) return;
  const Place to = place_of<Pack<T>::count>(item_of_thread(), squares.packs, squares.across, squares.down);
  const int top = g.h.start(kSide * to.y), left = g.w.start(kSide * to.x);
  Largest<T> largest[kSide * kSide];
#pragma unroll
  for (int row = 0; row < kOver; ++row) {
    const int first = g.in_offset(to.n, top + row, left) + to.c;
    Words values[kOver];
#pragma unroll
    for (int column = 0; column < kOver; ++column) {
      values[column] = Largest<T>::all(Word<T>::kLowest);
      if (g.h.inside(top + row) && g.w.inside(left + column))
        values[column] = load_words<Words::count>(x + (first + column * g.channels));
    }
#pragma unroll
    for (int column = 0; column < kOver; ++column)
#pragma unroll
      for (int i = 0; i < kSide * kSide; ++i) {
        const int down = row - i / kSide * kStride, across = column - i % kSide * kStride;
        if (in_map(down, across, kWindow, kWindow)) largest[i].take(values[column], down * kWindow + across);
      }
  }
  const uint32_t floor = above_zero ? 0 : Word<T>::kLowest;
#pragma unroll
  for (int i = 0; i < kSide * kSide; ++i) {
    const int oh = kSide * to.y + i / kSide, ow = kSide * to.x + i % kSide;
    if (oh >= g.h.out || ow >= g.w.out) continue;
    const int offset = g.out_offset(to.n, oh, ow) + to.c;
    if (y) store_words(y + offset, largest[i].value);
    if (taken) store_words(taken + offset, largest[i].numbers(floor));
  }
}

// dy, taken: (images, h.out, w.out, channels), dx: (images, h.in, w.in, channels). The squares are those of
// the padded map, so that windows begin at the same places of each.
template <int kWindow, int kStride, class T>
__global__ void pooling_backward_squares_kernel(Geometry g, Squares squares, uint32_t items, const T* dy,
                                                const uint8_t* taken, T* dx) {
  constexpr int kCount = Pack<T>::count;
  constexpr int kBefore = (kWindow - 1) / kStride;            // windows that begin before a square
  constexpr int kOver = kBefore + (kSide - 1) / kStride + 1;  // and all over it, in a direction
  if (item_of_thread() >= items) return;
  const Place to = place_of<kCount>(item_of_thread(), squares.packs, squares.across, squares.down);
  const int top = kSide / kStride * to.y - kBefore, left = kSide / kStride * to.x - kBefore;
  float sum[kSide * kSide][kCount] = {};
#pragma unroll
  for (int row = 0; row < kOver; ++row) {
    Words gradients[kOver];
    Pack<uint32_t, kCount / 4> numbers[kOver];  // a byte each
    const int first = g.out_offset(to.n, top + row, left) + to.c;
#pragma unroll
    for (int column = 0; column < kOver; ++column) {
      const bool inside = in_map(top + row, left + column, g.h.out, g.w.out);
      const int offset = inside ? first + column * g.channels : to.c;
      gradients[column] = load_words<Words::count>(dy + offset);
      numbers[column] = load_words<kCount / 4>(taken + offset);
      for (uint32_t& four : numbers[column].at) four |= inside ? 0 : 0xffffffffu;
    }
#pragma unroll
    for (int column = 0; column < kOver; ++column)
#pragma unroll
      for (int i = 0; i < kSide * kSide; ++i) {
        const int down = i / kSide + (kBefore - row) * kStride;
        const int across = i % kSide + (kBefore - column) * kStride;
        if (!in_map(down, across, kWindow, kWindow)) continue;
        const uint32_t place = down * kWindow + across;
#pragma unroll
        for (int k = 0; k < kCount; ++k)
          if ((numbers[column].at[k / 4] >> (8 * (k % 4)) & 0xff) == place)
            sum[i][k] += Word<T>::at(gradients[column], k);
      }
  }
#pragma unroll
  for (int i = 0; i < kSide * kSide; ++i) {
    const int h = kSide * to.y + i / kSide - g.h.pad, w = kSide * to.x + i % kSide - g.w.pad;
    if (!g.h.inside(h) || !g.w.inside(w)) continue;
    Pack<T> result;
#pragma unroll
    for (int k = 0; k < kCount; ++k) result.at[k] = sum[i][k];
    store_pack(dx + g.in_offset(to.n, h, w) + to.c, result);
  }
}

}  // namespace caffe::cuda
