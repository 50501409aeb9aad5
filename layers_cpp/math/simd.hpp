// Vectors of kLanes floats, for kernels that keep intermediate values in registers across loops that the
// compiler would not vectorise. Arithmetic, comparisons and `mask ? a : b` are GCC's vector extensions.
#pragma once

#include <immintrin.h>

#include <bit>
#include <cstring>
#include <type_traits>

#include "core/dtype.hpp"

namespace caffe {

#ifdef __AVX512F__
constexpr int kLanes = 16;
#else
constexpr int kLanes = 8;
#endif

using Floats [[gnu::vector_size(kLanes * 4)]] = float;
using Ints [[gnu::vector_size(kLanes * 4)]] = int32_t;
using Words [[gnu::vector_size(kLanes * 4)]] = uint32_t;
using HalfWords [[gnu::vector_size(kLanes * 2)]] = uint16_t;
using Bytes [[gnu::vector_size(kLanes)]] = uint8_t;

// GCC takes __builtin_convertvector to wider elements apart, so these are written out.
#ifdef __AVX512F__
constexpr __mmask16 kAll = 0xffff;  // the forms without a mask set off a false warning in GCC 12
inline Words widen(HalfWords values) {
  return std::bit_cast<Words>(_mm512_maskz_cvtepu16_epi32(kAll, std::bit_cast<__m256i>(values)));
}
inline Ints widen(Bytes values) {
  return std::bit_cast<Ints>(_mm512_maskz_cvtepu8_epi32(kAll, std::bit_cast<__m128i>(values)));
}
#else
inline Words widen(HalfWords values) {
  return std::bit_cast<Words>(_mm256_cvtepu16_epi32(std::bit_cast<__m128i>(values)));
}
inline Ints widen(Bytes values) {
  return std::bit_cast<Ints>(_mm256_cvtepu8_epi32(_mm_cvtsi64_si128(std::bit_cast<int64_t>(values))));
}
#endif

inline Floats broadcast(float value) { return Floats{} + value; }
inline Ints broadcast(int32_t value) { return Ints{} + value; }

// Loads and stores of `lanes` <= kLanes elements; the others read as 0. A constant gives one instruction.

template <class Vector, class T, class Lanes>
Vector load_raw(const T* from, Lanes lanes) {
  Vector vector{};
  std::memcpy(&vector, from, static_cast<size_t>(lanes) * sizeof(T));
  return vector;
}
template <class Vector, class T, class Lanes>
void store_raw(const Vector& vector, T* to, Lanes lanes) {
  std::memcpy(static_cast<void*>(to), &vector, static_cast<size_t>(lanes) * sizeof(T));
}

template <class Lanes>
Floats load(const float* from, Lanes lanes) {
  return load_raw<Floats>(from, lanes);
}
template <class Lanes>
Floats load(const bfloat16* from, Lanes lanes) {
  return std::bit_cast<Floats>(widen(load_raw<HalfWords>(from, lanes)) << 16);
}
template <class Lanes>
Ints load(const uint8_t* from, Lanes lanes) {
  return widen(load_raw<Bytes>(from, lanes));
}
template <class Lanes>
Ints load(const uint32_t* from, Lanes lanes) {
  return load_raw<Ints>(from, lanes);
}

template <class Lanes>
void store(Floats values, float* to, Lanes lanes) {
  store_raw(values, to, lanes);
}
// Rounds to nearest even and keeps NaN a NaN, as bfloat16(float) does.
template <class Lanes>
void store(Floats values, bfloat16* to, Lanes lanes) {
  const Words words = std::bit_cast<Words>(values);
  const Words rounded = words + 0x7fffu + ((words >> 16) & 1u);
  const Words kept = values == values ? rounded : (words | 0x400000u);
  store_raw(__builtin_convertvector(kept >> 16, HalfWords), to, lanes);
}
template <class Lanes>
void store(Ints values, uint8_t* to, Lanes lanes) {
  store_raw(__builtin_convertvector(values, Bytes), to, lanes);
}
template <class Lanes>
void store(Ints values, uint32_t* to, Lanes lanes) {
  store_raw(values, to, lanes);
}

// Calls body(start, vectors, lanes) for groups of 4, 2 or 1 vectors that together cover [0, count). The last
// one may overlap the one before, so what is computed must not depend on what was stored. Fewer than kLanes
// elements make one vector of fewer lanes. `vectors`, and otherwise `lanes`, are compile-time constants.
template <class Body>
void for_each_group(int64_t count, Body&& body) {
  constexpr std::integral_constant<int, kLanes> all_lanes;
  int64_t start = 0;
  for (; start + 4 * kLanes <= count; start += 4 * kLanes)
    body(start, std::integral_constant<int, 4>{}, all_lanes);
  if (start + 2 * kLanes <= count) {
    body(start, std::integral_constant<int, 2>{}, all_lanes);
    start += 2 * kLanes;
  }
  if (start + kLanes <= count) {
    body(start, std::integral_constant<int, 1>{}, all_lanes);
    start += kLanes;
  }
  if (start == count) return;
  if (count >= kLanes)
    body(count - kLanes, std::integral_constant<int, 1>{}, all_lanes);
  else
    body(int64_t{0}, std::integral_constant<int, 1>{}, static_cast<int>(count));
}

}  // namespace caffe
