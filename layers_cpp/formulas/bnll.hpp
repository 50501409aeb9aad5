// BNLL: y = ln(1 + e^x), by a power that does not overflow.
//
// Gradient: dx = dy / (1 + e^-x).
#pragma once

#include "formulas/formula.hpp"
#include "math/vector_math.hpp"

namespace caffe {

struct BNLL {
  explicit BNLL(const Args&) {}

  static constexpr int cost = 4;
  static constexpr Operand reads = Operand::x;
  CAFFE_HOST_DEVICE float forward(float x) const {
    return (x > 0 ? x : 0.0f) + vector_log1p(vector_exp(x > 0 ? -x : x));
  }
  CAFFE_HOST_DEVICE float backward(float x, float dy) const { return dy * vector_sigmoid(x); }
};

}  // namespace caffe
