// ReLU: y = max(x, 0) + s min(x, 0), s = negative_slope.
//
// Gradient: dx = dy (y > 0 ? 1 : s). It is decided by the sign of y, which for s >= 0 is that of x, and by x
// itself for s < 0. NaN passes through in both directions.
#pragma once

#include "formulas/formula.hpp"

namespace caffe {

struct ReLU {
  explicit ReLU(const Args& args)
      : slope(args.real("negative_slope")), reads(slope < 0 ? Operand::x : Operand::y) {}

  static constexpr int cost = 1;
  CAFFE_HOST_DEVICE float forward(float x) const {
    const float negative = slope == 0 ? 0.0f : slope * x;  // 0 * -inf would be NaN
    return x > 0 ? x : (x <= 0 ? negative : x);
  }
  CAFFE_HOST_DEVICE float backward(float value, float dy) const { return value > 0 ? dy : slope * dy; }

  float slope;
  Operand reads;
};

}  // namespace caffe
