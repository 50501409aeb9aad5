// LRN across 5 channels, the window that most nets use: a thread has 16 bytes of channels, and their
// neighbours, which lie in the caches, in registers. Forward reads x and writes y, backward reads x and dy
// and writes dx, each once from memory.
#pragma once

#include "core/division.hpp"
#include "core/pack.hpp"
#include "math/lrn_power.hpp"

namespace caffe::cuda::lrn {

constexpr int kReach = 2;

// At any address: blobs that lie in somebody else's memory are rare, but must not need memory of their own.
template <bool kAligned, class T>
__device__ inline Pack<T> load_values(const T* from) {
  if constexpr (kAligned) {
    return load_pack(from);
  } else {
    Pack<T> values;
    for (int i = 0; i < Pack<T>::count; ++i) values.at[i] = from[i];
    return values;
  }
}
template <bool kAligned, class T>
__device__ inline void store_values(T* to, const Pack<T>& values) {
  if constexpr (kAligned)
    store_pack(to, values);
  else
    for (int i = 0; i < Pack<T>::count; ++i) to[i] = values.at[i];
}

// A pack of channels between its neighbours; 0 beyond the first and the last channel.
template <bool kAligned, int kCount>
struct Neighbourhood {
  template <class T>
  __device__ Neighbourhood(const T* from, int pack, const Divisor& width) {
    uint32_t place = pack;
    const uint32_t within = width.split(place);
    first = within == 0;
    last = within == width.value() - 1;
    const T* here = from + static_cast<int64_t>(pack) * kCount;
    put(0, first, here - kCount);
    put(1, false, here);
    put(2, last, here + kCount);
  }

  template <class T>
  __device__ void put(int place, bool outside, const T* from) {
    Pack<T, kCount> values{};
    if (!outside) values = load_values<kAligned>(from);
#pragma unroll
    for (int i = 0; i < kCount; ++i) at[place * kCount + i] = static_cast<float>(values.at[i]);
  }
  __device__ bool outside(int i) const { return (first && i < kCount) || (last && i >= 2 * kCount); }

  float at[3 * kCount];
  bool first, last;
};

// The sum of the squares of the 5 values around place i.
template <class Values>
__device__ inline float square_sum(const Values& x, int i) {
  float sum = 0;
#pragma unroll
  for (int other = i - kReach; other <= i + kReach; ++other) sum += x.at[other] * x.at[other];
  return sum;
}

template <bool kAligned, class T, class Power>
__global__ void lrn_forward_5_channels_kernel(Normalization norm, Power power, int packs, Divisor width,
                                              const T* x, T* y) {
  // x, y: (N, H, W, width packs)
  constexpr int kCount = Pack<T>::count;
  const int pack = blockIdx.x * blockDim.x + threadIdx.x;
  if (pack >= packs) return;
  const Neighbourhood<kAligned, kCount> from(x, pack, width);
  Pack<T> result;
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    const Powers powers = power(norm.scale(square_sum(from, kCount + i)));
    result.at[i] = from.at[kCount + i] * powers.factor;
  }
  store_values<kAligned>(y + static_cast<int64_t>(pack) * kCount, result);
}

template <bool kAligned, class T, class Power>
__global__ void lrn_backward_5_channels_kernel(Normalization norm, Power power, int packs, Divisor width,
                                               const T* x, const T* dy, T* dx) {
  // x, dy, dx: (N, H, W, width packs)
  constexpr int kCount = Pack<T>::count;
  const int pack = blockIdx.x * blockDim.x + threadIdx.x;
  if (pack >= packs) return;
  const Neighbourhood<kAligned, kCount> from(x, pack, width), gradient(dy, pack, width);
  float direct[kCount], ratios[kCount + 2 * kReach];  // dy s^(-beta), dy y / s
#pragma unroll
  for (int r = 0; r < kCount + 2 * kReach; ++r) {
    const int i = kCount - kReach + r;
    const Powers powers = power(norm.scale(square_sum(from, i)));
    const float product = gradient.at[i] * powers.factor;
    if (r >= kReach && r < kCount + kReach) direct[r - kReach] = product;
    ratios[r] = from.outside(i) ? 0.0f : product * from.at[i] * powers.inverse;
  }
  Pack<T> result;
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    float sum = 0;
#pragma unroll
    for (int r = i; r <= i + 2 * kReach; ++r) sum += ratios[r];
    result.at[i] = direct[i] - norm.weight() * from.at[kCount + i] * sum;
  }
  store_values<kAligned>(dx + static_cast<int64_t>(pack) * kCount, result);
}

}  // namespace caffe::cuda::lrn
