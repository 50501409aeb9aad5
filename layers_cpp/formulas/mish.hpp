// Mish: y = x tanh(ln(1 + e^x)).
//
// With n = e^x the tangent is (n^2 + 2 n) / (n^2 + 2 n + 2): one power, and nothing that cancels. For x > 0
// both sides are divided by n^2, so that the power, e^-|x|, does not overflow.
//
// Gradient: dx = dy (t + x (1 - t^2) s), t the tangent and s = 1 / (1 + e^-x).
#pragma once

#include "formulas/formula.hpp"
#include "math/vector_math.hpp"

namespace caffe {

struct Mish {
  explicit Mish(const Args&) {}

  static constexpr int cost = 4;
  static constexpr Operand reads = Operand::x;
  CAFFE_HOST_DEVICE float forward(float x) const {
    const Parts parts(x);
    return x * (parts.part / parts.whole);
  }
  CAFFE_HOST_DEVICE float backward(float x, float dy) const {
    const Parts parts(x);
    const float share = 1.0f / parts.whole, squared = x > 0 ? parts.power * parts.power : parts.power;
    const float slope = 4.0f * squared * (1.0f + parts.power) * share * share;  // (1 - t^2) s
    return dy * (parts.part * share + x * slope);
  }

  struct Parts {
    CAFFE_HOST_DEVICE explicit Parts(float x) : power(vector_exp(x > 0 ? -x : x)) {
      const float twice = 2.0f * power, square = power * power;
      part = x > 0 ? 1.0f + twice : square + twice;
      whole = x > 0 ? part + 2.0f * square : part + 2.0f;
    }
    float power, part, whole;
  };
};

}  // namespace caffe
