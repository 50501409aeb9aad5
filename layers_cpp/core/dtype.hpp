// Element types of blobs. Arithmetic is always done in float32; bfloat16 is a storage type.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <utility>

#ifdef __CUDACC__
#include <cuda_bf16.h>
#endif

// In CUDA sources such functions exist on the device as well, or there only.
#ifdef __CUDACC__
#define CAFFE_HOST_DEVICE __host__ __device__
#define CAFFE_DEVICE __device__
#else
#define CAFFE_HOST_DEVICE
#define CAFFE_DEVICE
#endif

namespace caffe {

enum class DType { float32, bfloat16 };

constexpr size_t size_of(DType type) { return type == DType::float32 ? 4 : 2; }

// The upper half of a float32. Rounds to nearest even and keeps NaN a NaN.
struct bfloat16 {
  uint16_t bits = 0;

  bfloat16() = default;
  CAFFE_HOST_DEVICE bfloat16(
      float value)  // NOLINT: implicit, so that kernels are written once for both types
      : bits(round(value)) {}
  CAFFE_HOST_DEVICE bfloat16& operator=(
      float value) {  // not through a temporary: the compiler would not vectorise its copy
    bits = round(value);
    return *this;
  }
  CAFFE_HOST_DEVICE operator float() const { return as_float(static_cast<uint32_t>(bits) << 16); }

 private:
#ifdef __CUDA_ARCH__
  static __device__ float as_float(uint32_t word) { return __uint_as_float(word); }
  static __device__ uint16_t round(float value) { return __bfloat16_as_ushort(__float2bfloat16_rn(value)); }
#else
  static CAFFE_HOST_DEVICE float as_float(uint32_t word) { return std::bit_cast<float>(word); }
  static CAFFE_HOST_DEVICE uint16_t round(float value) {
    const uint32_t word = std::bit_cast<uint32_t>(value);
    const uint32_t rounded = word + 0x7fffu + ((word >> 16) & 1u);
    return static_cast<uint16_t>((value == value ? rounded : (word | 0x400000u)) >> 16);
  }
#endif
};

// Calls body(T{}) with the C++ type of `type`: dispatch(blob.dtype(), [&](auto zero) {
// kernel<decltype(zero)>(); }).
template <class Body>
decltype(auto) dispatch(DType type, Body&& body) {
  return type == DType::float32 ? std::forward<Body>(body)(float{}) : std::forward<Body>(body)(bfloat16{});
}

}  // namespace caffe
