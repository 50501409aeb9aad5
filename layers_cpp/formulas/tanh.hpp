// TanH: y = tanh(x).
//
// Gradient: dx = dy (1 - y^2).
#pragma once

#include "formulas/formula.hpp"
#include "math/vector_math.hpp"

namespace caffe {

struct TanH {
  explicit TanH(const Args&) {}

  static constexpr int cost = 4;
  static constexpr Operand reads = Operand::y;
  CAFFE_HOST_DEVICE float forward(float x) const { return vector_tanh(x); }
  CAFFE_HOST_DEVICE float backward(float y, float dy) const { return dy * (1.0f - y * y); }
};

}  // namespace caffe
