// Element types of blobs. Arithmetic is always done in float32; bfloat16 is a storage type.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace caffe {

enum class DType { float32, bfloat16 };

constexpr size_t size_of(DType type) { return type == DType::float32 ? 4 : 2; }

// The upper half of a float32. Rounds to nearest even and keeps NaN a NaN.
struct bfloat16 {
  uint16_t bits = 0;

  bfloat16() = default;
  bfloat16(float value)
      : bits(round(value)) {}         // NOLINT: implicit, so that kernels are written once for both types
  bfloat16& operator=(float value) {  // not through a temporary: the compiler would not vectorise its copy
    bits = round(value);
    return *this;
  }
  operator float() const { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

 private:
  static uint16_t round(float value) {
    const uint32_t word = std::bit_cast<uint32_t>(value);
    const uint32_t rounded = word + 0x7fffu + ((word >> 16) & 1u);
    return static_cast<uint16_t>((value == value ? rounded : (word | 0x400000u)) >> 16);
  }
};

// Calls body(T{}) with the C++ type of `type`: dispatch(blob.dtype(), [&](auto zero) {
// kernel<decltype(zero)>(); }).
template <class Body>
decltype(auto) dispatch(DType type, Body&& body) {
  return type == DType::float32 ? std::forward<Body>(body)(float{}) : std::forward<Body>(body)(bfloat16{});
}

}  // namespace caffe
