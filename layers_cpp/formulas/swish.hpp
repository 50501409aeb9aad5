// Swish: y = x s, s = 1 / (1 + e^(-beta x)).
//
// Gradient: dx = dy (s + beta x s (1 - s)).
#pragma once

#include "formulas/formula.hpp"
#include "math/vector_math.hpp"

namespace caffe {

struct Swish {
  explicit Swish(const Args& args) : beta(args.real("beta")) {}

  static constexpr int cost = 4;
  static constexpr Operand reads = Operand::x;
  CAFFE_HOST_DEVICE float forward(float x) const { return x * vector_sigmoid(beta * x); }
  CAFFE_HOST_DEVICE float backward(float x, float dy) const {
    const float z = beta * x, power = vector_exp(z < 0 ? z : -z), share = 1.0f / (1.0f + power);
    const float s = z < 0 ? power * share : share;
    return dy * (s + z * power * share * share);
  }

  float beta;
};

}  // namespace caffe
