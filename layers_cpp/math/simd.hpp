// Vectors of kLanes floats, for kernels that keep intermediate values in registers across loops that the
// compiler would not vectorise. Arithmetic, comparisons and `mask ? a : b` are GCC's vector extensions.
#pragma once

#include <immintrin.h>

#include <bit>
#include <cstring>
#include <type_traits>
#include <utility>

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

// The upper 16 bits of each word.
inline HalfWords upper_halves(Words words) {
  using Halves [[gnu::vector_size(kLanes * 4)]] = uint16_t;
  const Halves halves = std::bit_cast<Halves>(words);
#ifdef __AVX512F__
  return __builtin_shufflevector(halves, halves, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
#else
  return __builtin_shufflevector(halves, halves, 1, 3, 5, 7, 9, 11, 13, 15);
#endif
}

inline Floats broadcast(float value) { return Floats{} + value; }
inline Ints broadcast(int32_t value) { return Ints{} + value; }

// Of a comparison: whether it holds in some lane.
inline bool any(Ints mask) {
#ifdef __AVX512F__
  return _mm512_cmplt_epi32_mask(std::bit_cast<__m512i>(mask), __m512i{}) != 0;
#else
  return _mm256_movemask_ps(std::bit_cast<__m256>(mask)) != 0;
#endif
}

inline Floats square_root(Floats values) {
#ifdef __AVX512F__
  return std::bit_cast<Floats>(_mm512_maskz_sqrt_ps(kAll, std::bit_cast<__m512>(values)));
#else
  return std::bit_cast<Floats>(_mm256_sqrt_ps(std::bit_cast<__m256>(values)));
#endif
}

// 1 / sqrt(x) to 2 units in the last place: the processor's estimate and a step of Newton's method, where
// that is exact enough; a square root and a division take four times as long.
inline Floats reciprocal_root(Floats values) {
#ifdef __AVX512F__
  const Floats estimate = std::bit_cast<Floats>(_mm512_maskz_rsqrt14_ps(kAll, std::bit_cast<__m512>(values)));
  const Floats refined = estimate * (1.5f - 0.5f * values * estimate * estimate);
  return refined == refined ? refined : estimate;  // of 0 and infinity the estimate is exact
#else
  return 1.0f / square_root(values);
#endif
}

// The vector that begins kShift lanes after the first of two that follow one another.
template <int kShift>
Floats shifted(Floats first, Floats second) {
  return [&]<int... lane>(std::integer_sequence<int, lane...>) {
    return __builtin_shufflevector(first, second, (lane + kShift)...);
  }(std::make_integer_sequence<int, kLanes>{});
}

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
  store_raw(upper_halves(kept), to, lanes);
}
template <class Lanes>
void store(Ints values, uint8_t* to, Lanes lanes) {
  store_raw(__builtin_convertvector(values, Bytes), to, lanes);
}
template <class Lanes>
void store(Ints values, uint16_t* to, Lanes lanes) {
  store_raw(__builtin_convertvector(values, HalfWords), to, lanes);
}
template <class Lanes>
void store(Ints values, uint32_t* to, Lanes lanes) {
  store_raw(values, to, lanes);
}

// The number of lanes as a constant, for loads and stores of whole vectors.
constexpr std::integral_constant<int, kLanes> kAllLanes;

// Calls body(start, lanes) for vectors that together cover [0, count): `lanes` is kAllLanes but for the last.
template <class Body>
void for_each_vector(int64_t count, Body&& body) {
  int64_t start = 0;
  for (; start + kLanes <= count; start += kLanes) body(start, kAllLanes);
  if (start < count) body(start, static_cast<int>(count - start));
}

// Calls body(start, vectors, lanes) for groups of 4, 2 or 1 vectors that together cover [0, count). The last
// one may overlap the one before, so what is computed must not depend on what was stored. Fewer than kLanes
// elements make one vector of fewer lanes. `vectors`, and otherwise `lanes`, are compile-time constants.
template <class Body>
void for_each_group(int64_t count, Body&& body) {
  int64_t start = 0;
  for (; start + 4 * kLanes <= count; start += 4 * kLanes)
    body(start, std::integral_constant<int, 4>{}, kAllLanes);
  if (start + 2 * kLanes <= count) {
    body(start, std::integral_constant<int, 2>{}, kAllLanes);
    start += 2 * kLanes;
  }
  if (start + kLanes <= count) {
    body(start, std::integral_constant<int, 1>{}, kAllLanes);
    start += kLanes;
  }
  if (start == count) return;
  if (count >= kLanes)
    body(count - kLanes, std::integral_constant<int, 1>{}, kAllLanes);
  else
    body(int64_t{0}, std::integral_constant<int, 1>{}, static_cast<int>(count));
}

}  // namespace caffe
