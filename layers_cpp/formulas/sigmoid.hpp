// Sigmoid: y = 1 / (1 + e^-x).
//
// Gradient: dx = dy y (1 - y).
#pragma once

#include "formulas/formula.hpp"
#include "math/vector_math.hpp"

namespace caffe {

struct Sigmoid {
  explicit Sigmoid(const Args&) {}

  static constexpr int cost = 4;
  static constexpr Operand reads = Operand::y;
  CAFFE_HOST_DEVICE float forward(float x) const { return vector_sigmoid(x); }
  CAFFE_HOST_DEVICE float backward(float y, float dy) const { return dy * y * (1.0f - y); }
};

}  // namespace caffe
