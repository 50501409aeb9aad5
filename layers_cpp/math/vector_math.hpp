// exp, log, power, tanh and their like as plain arithmetic without branches or calls, so that loops over them
// vectorise. About 2 units in the last place; infinities and NaN as in <cmath>.
#pragma once

#include <bit>
#include <cstdint>
#include <limits>

#include "core/dtype.hpp"

namespace caffe {

// e^x = 2^k (1 + rest) with k whole, for -104 <= x <= 89.
struct ExpParts {
  int32_t k;
  float rest;
};

// e^x = 2^k e^r with |r| <= ln(2) / 2; e^r by its Taylor series.
CAFFE_HOST_DEVICE inline ExpParts exp_parts(float x) {
  constexpr float kRounder =
      12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number, held in the low bits
  constexpr float kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;
  const float rounded = x * 1.44269504f + kRounder;
  const float k = rounded - kRounder;
  const float r = (x - k * kLn2High) - k * kLn2Low;
  float series = 1.0f / 5040;
  series = series * r + 1.0f / 720;
  series = series * r + 1.0f / 120;
  series = series * r + 1.0f / 24;
  series = series * r + 1.0f / 6;
  series = series * r + 0.5f;
  series = series * r + 1.0f;
  return {std::bit_cast<int32_t>(rounded) - std::bit_cast<int32_t>(kRounder), series * r};
}

// 2^k for -126 <= k <= 127
CAFFE_HOST_DEVICE inline float power_of_two(uint32_t k) { return std::bit_cast<float>((k + 127u) << 23); }

// 2^k is applied in two halves, which reaches the ends of the range.
CAFFE_HOST_DEVICE inline float vector_exp(float x) {
  x = x < -104.0f ? -104.0f : x;
  x = x > 89.0f ? 89.0f : x;
  const ExpParts parts = exp_parts(x);
  const uint32_t half = static_cast<uint32_t>(parts.k >> 1), rest = static_cast<uint32_t>(parts.k) - half;
  return (parts.rest + 1.0f) * power_of_two(half) * power_of_two(rest);
}

// e^x - 1 for x <= 0; a larger x counts as 0.
CAFFE_HOST_DEVICE inline float vector_expm1(float x) {
  x = x < -87.0f ? -87.0f : x;
  x = x > 0.0f ? 0.0f : x;
  const ExpParts parts = exp_parts(x);
  const float scale = power_of_two(static_cast<uint32_t>(parts.k));
  return parts.rest * scale + (scale - 1.0f);
}

// ln(x) = k ln(2) + ln(m) with m in [sqrt(1/2), sqrt(2)); ln(m) = 2 artanh(t), t = (m - 1) / (m + 1), by its
// series.
CAFFE_HOST_DEVICE inline float vector_log(float x) {
  constexpr float kSmallest = std::numeric_limits<float>::min();
  constexpr float kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;
  const bool denormal = x < kSmallest;
  const uint32_t bits = std::bit_cast<uint32_t>(denormal ? x * 0x1p23f : x) - 0x3f3504f3u;  // sqrt(1/2)
  const float k = static_cast<float>(static_cast<int32_t>(bits) >> 23) - (denormal ? 23.0f : 0.0f);
  const float m = std::bit_cast<float>((bits & 0x7fffffu) + 0x3f3504f3u);
  const float t = (m - 1.0f) / (m + 1.0f), square = t * t;
  float series = 2.0f / 9;
  series = series * square + 2.0f / 7;
  series = series * square + 2.0f / 5;
  series = series * square + 2.0f / 3;
  const float log_m = t * square * series + 2.0f * t;
  const float finite = k * kLn2High + (k * kLn2Low + log_m);
  const float infinity = std::numeric_limits<float>::infinity();
  const float upper = x < infinity ? finite : x;  // +inf and NaN
  const float at_zero = x == 0.0f ? -infinity : std::numeric_limits<float>::quiet_NaN();
  return x <= 0.0f ? at_zero : upper;
}

// ln(1 + x) for 0 <= x <= 1: 2 artanh(t), t = x / (2 + x), by its series.
CAFFE_HOST_DEVICE inline float vector_log1p(float x) {
  const float t = x / (2.0f + x), square = t * t;
  float series = 2.0f / 15;
  series = series * square + 2.0f / 13;
  series = series * square + 2.0f / 11;
  series = series * square + 2.0f / 9;
  series = series * square + 2.0f / 7;
  series = series * square + 2.0f / 5;
  series = series * square + 2.0f / 3;
  return t * square * series + 2.0f * t;
}

CAFFE_HOST_DEVICE inline float vector_power(float base, float exponent) {
  return vector_exp(exponent * vector_log(base));
}

// Near 0 the odd series of Cephes' tanhf, which keeps small values exact; elsewhere (1 - e^-2|x|) / (1 +
// e^-2|x|).
CAFFE_HOST_DEVICE inline float vector_tanh(float x) {
  const float size = x < 0 ? -x : x, square = x * x;
  float series = -5.70498872745e-3f;
  series = series * square + 2.06390887954e-2f;
  series = series * square - 5.37397155531e-2f;
  series = series * square + 1.33314422036e-1f;
  series = series * square - 3.33332819422e-1f;
  const float near = x + x * square * series;
  const float power = vector_exp(-2.0f * size);
  const float magnitude = (1.0f - power) / (1.0f + power), far = x < 0 ? -magnitude : magnitude;
  return size < 0.625f ? near : far;
}

// 1 / (1 + e^-x). The power never overflows, and small results keep all their digits.
CAFFE_HOST_DEVICE inline float vector_sigmoid(float x) {
  const float power = vector_exp(x < 0 ? x : -x);
  return (x < 0 ? power : 1.0f) / (1.0f + power);
}

}  // namespace caffe
