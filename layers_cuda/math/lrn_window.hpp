// LRN over any window, which is added up from the caches; backward in two steps, with two float arrays
// between them.
#pragma once

#include "core/pack.hpp"
#include "math/lrn_power.hpp"

namespace caffe::cuda::lrn {

struct Map {
  int channels, height, width;
  bool within;  // the window lies within a channel, else across channels
};

// sums[i] = value(j)[i] added up over the places j of the window around `at`, where kCount channels lie, or
// one if the window lies across channels.
template <int kCount, class Value>
__device__ void window_sums(const Map& map, int reach, int64_t at, const Value& value,
                            float (&sums)[kCount]) {
  const auto add = [&](int64_t j) {
    const Pack<float, kCount> values = value(j);
#pragma unroll
    for (int i = 0; i < kCount; ++i) sums[i] += values.at[i];
  };
  const int c = static_cast<int>(at % map.channels);
  if (!map.within) {
    for (int other = max(0, c - reach); other <= min(map.channels - 1, c + reach); ++other)
      add(at - c + other);
    return;
  }
  const int64_t place = at / map.channels;
  const int w = static_cast<int>(place % map.width), h = static_cast<int>(place / map.width % map.height);
  for (int row = max(0, h - reach); row <= min(map.height - 1, h + reach); ++row)
    for (int column = max(0, w - reach); column <= min(map.width - 1, w + reach); ++column)
      add(at + (int64_t{row - h} * map.width + (column - w)) * map.channels);
}

template <class T, int kCount>
struct Square {
  __device__ Pack<float, kCount> operator()(int64_t j) const {
    const auto values = load_pack<T, kCount>(x + j);
    Pack<float, kCount> squares;
#pragma unroll
    for (int i = 0; i < kCount; ++i)
      squares.at[i] = static_cast<float>(values.at[i]) * static_cast<float>(values.at[i]);
    return squares;
  }
  const T* x;
};

template <int kCount>
struct Ratio {
  __device__ Pack<float, kCount> operator()(int64_t j) const { return load_pack<float, kCount>(ratios + j); }
  const float* ratios;
};

template <int kCount, class T, class Power>
__global__ void lrn_forward_kernel(Map map, Normalization norm, Power power, int packs, const T* x, T* y) {
  // x, y: (N, H, W, C), packs in all
  const int pack = blockIdx.x * blockDim.x + threadIdx.x;
  if (pack >= packs) return;
  const int64_t at = static_cast<int64_t>(pack) * kCount;
  float sums[kCount] = {};
  window_sums(map, norm.reach, at, Square<T, kCount>{x}, sums);
  auto values = load_pack<T, kCount>(x + at);
#pragma unroll
  for (int i = 0; i < kCount; ++i)
    values.at[i] = static_cast<float>(values.at[i]) * power(norm.scale(sums[i])).factor;
  store_pack(y + at, values);
}

template <int kCount, class T, class Power>
__global__ void lrn_ratios_kernel(Map map, Normalization norm, Power power, int packs, const T* x,
                                  const T* dy, float* factors, float* ratios) {
  // x, dy, factors = s^(-beta), ratios = dy y / s: (N, H, W, C), packs in all
  const int pack = blockIdx.x * blockDim.x + threadIdx.x;
  if (pack >= packs) return;
  const int64_t at = static_cast<int64_t>(pack) * kCount;
  float sums[kCount] = {};
  window_sums(map, norm.reach, at, Square<T, kCount>{x}, sums);
  const auto values = load_pack<T, kCount>(x + at), gradients = load_pack<T, kCount>(dy + at);
  Pack<float, kCount> factor, ratio;
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    const Powers powers = power(norm.scale(sums[i]));
    const float product = static_cast<float>(gradients.at[i]) * static_cast<float>(values.at[i]);
    factor.at[i] = powers.factor;
    ratio.at[i] = product * powers.factor * powers.inverse;
  }
  store_pack(factors + at, factor);
  store_pack(ratios + at, ratio);
}

template <int kCount, class T>
__global__ void lrn_backward_kernel(Map map, Normalization norm, int packs, const T* x, const T* dy,
                                    const float* factors, const float* ratios, T* dx) {
  // x, dy, factors, ratios, dx: (N, H, W, C), packs in all
  const int pack = blockIdx.x * blockDim.x + threadIdx.x;
  if (pack >= packs) return;
  const int64_t at = static_cast<int64_t>(pack) * kCount;
  float sums[kCount] = {};
  window_sums(map, norm.reach, at, Ratio<kCount>{ratios}, sums);
  const auto values = load_pack<T, kCount>(x + at), gradients = load_pack<T, kCount>(dy + at);
  const auto factor = load_pack<float, kCount>(factors + at);
  Pack<T, kCount> result;
#pragma unroll
  for (int i = 0; i < kCount; ++i)
    result.at[i] = static_cast<float>(gradients.at[i]) * factor.at[i] -
                   norm.weight() * static_cast<float>(values.at[i]) * sums[i];
  store_pack(dx + at, result);
}

}  // namespace caffe::cuda::lrn
