// Counter-based random numbers (Philox 4x32-10). The number at a place is a function of (seed, stream,
// iteration, place) alone: threads, devices and resumed runs draw the same ones and no state needs saving.
//
// J. K. Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC 2011.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "core/dtype.hpp"

namespace caffe {

class Philox {
 public:
  CAFFE_HOST_DEVICE Philox(uint64_t seed, uint64_t stream, uint64_t iteration)
      : key0_(static_cast<uint32_t>(seed)),
        key1_(static_cast<uint32_t>(seed >> 32) ^ static_cast<uint32_t>(stream >> 32)),
        stream_(static_cast<uint32_t>(stream)),
        iteration_(static_cast<uint32_t>(iteration)) {}

  // Four 32-bit numbers for block `index`.
  CAFFE_HOST_DEVICE std::array<uint32_t, 4> operator()(uint64_t index) const {
    uint32_t c0 = static_cast<uint32_t>(index), c1 = static_cast<uint32_t>(index >> 32);
    uint32_t c2 = stream_, c3 = iteration_;
    uint32_t k0 = key0_, k1 = key1_;
    for (int round = 0; round < 10; ++round) {
      const uint64_t a = uint64_t{0xD2511F53u} * c0, b = uint64_t{0xCD9E8D57u} * c2;
      c0 = static_cast<uint32_t>(b >> 32) ^ c1 ^ k0;
      c1 = static_cast<uint32_t>(b);
      c2 = static_cast<uint32_t>(a >> 32) ^ c3 ^ k1;
      c3 = static_cast<uint32_t>(a);
      k0 += 0x9E3779B9u;
      k1 += 0xBB67AE85u;
    }
    return {c0, c1, c2, c3};
  }

  // Blocks `first` to `first + kLanes - 1` at once: bits[word][lane]. The words are kept in 64-bit lanes
  // because that is how compilers vectorise the products; four times as fast as block by block. Not for
  // kernels, whose threads draw block by block.
#ifndef __CUDACC__
  template <std::size_t kLanes>
  void draw(uint64_t first, std::array<std::array<uint32_t, kLanes>, 4>& bits) const {
#pragma omp simd
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      constexpr uint64_t kLow = 0xFFFFFFFFu;
      const uint64_t index = first + lane;
      uint64_t c0 = index & kLow, c1 = index >> 32, c2 = stream_, c3 = iteration_;
      uint32_t k0 = key0_, k1 = key1_;
      for (int round = 0; round < 10; ++round) {
        const uint64_t a = 0xD2511F53u * c0, b = 0xCD9E8D57u * c2;
        c0 = (b >> 32) ^ c1 ^ k0;
        c1 = b & kLow;
        c2 = (a >> 32) ^ c3 ^ k1;
        c3 = a & kLow;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
      }
      bits[0][lane] = static_cast<uint32_t>(c0);
      bits[1][lane] = static_cast<uint32_t>(c1);
      bits[2][lane] = static_cast<uint32_t>(c2);
      bits[3][lane] = static_cast<uint32_t>(c3);
    }
  }
#endif

 private:
  uint32_t key0_, key1_, stream_, iteration_;
};

// In [0, 1), with 24 random bits.
CAFFE_HOST_DEVICE inline float uniform01(uint32_t bits) { return static_cast<float>(bits >> 8) * 0x1p-24f; }

}  // namespace caffe
