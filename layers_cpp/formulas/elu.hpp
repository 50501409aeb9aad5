// ELU: y = x > 0 ? x : alpha (e^x - 1).
//
// Gradient: dx = dy (x > 0 ? 1 : alpha e^x). For alpha >= 0 the sign of x is that of y, and alpha e^x is
// y + alpha.
#pragma once

#include "formulas/formula.hpp"
#include "math/vector_math.hpp"

namespace caffe {

struct ELU {
  explicit ELU(const Args& args) : alpha(args.real("alpha")), reads(alpha < 0 ? Operand::x : Operand::y) {}

  static constexpr int cost = 4;
  CAFFE_HOST_DEVICE float forward(float x) const { return x > 0 ? x : alpha * vector_expm1(x); }
  CAFFE_HOST_DEVICE float backward(float value, float dy) const {
    const float y = reads == Operand::x ? alpha * vector_expm1(value) : value;
    return value > 0 ? dy : dy * (y + alpha);
  }

  float alpha;
  Operand reads;
};

}  // namespace caffe
