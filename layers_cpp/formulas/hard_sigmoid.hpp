// HardSigmoid: y = min(max(alpha x + beta, 0), 1).
//
// Gradient: dx = dy alpha where 0 < alpha x + beta < 1, else 0. That is read from x: in bfloat16 a y just
// below 1 is rounded to 1. NaN passes through.
#pragma once

#include "formulas/formula.hpp"

namespace caffe {

struct HardSigmoid {
  explicit HardSigmoid(const Args& args) : alpha(args.real("alpha")), beta(args.real("beta")) {}

  static constexpr int cost = 1;
  static constexpr Operand reads = Operand::x;
  CAFFE_HOST_DEVICE float forward(float x) const {
    const float line = alpha * x + beta;
    return line < 0 ? 0.0f : (line > 1 ? 1.0f : line);
  }
  CAFFE_HOST_DEVICE float backward(float x, float dy) const {
    const float line = alpha * x + beta;
    return line <= 0 || line >= 1 ? 0.0f : alpha * dy;
  }

  float alpha, beta;
};

}  // namespace caffe
