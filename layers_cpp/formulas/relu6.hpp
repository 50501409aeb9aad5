// ReLU6: y = min(max(x, 0) + s min(x, 0), 6), s = negative_slope.
//
// Gradient: dx = dy (x > 0 ? 1 : s) (y < 6). For s >= 0 the sign of x is that of y. NaN passes through.
#pragma once

#include "formulas/formula.hpp"

namespace caffe {

struct ReLU6 {
  explicit ReLU6(const Args& args)
      : slope(args.real("negative_slope")), reads(slope < 0 ? Operand::x : Operand::y) {}

  static constexpr int cost = 1;
  CAFFE_HOST_DEVICE float forward(float x) const {
    const float negative = slope == 0 ? 0.0f : slope * x;  // 0 * -inf would be NaN
    const float leaky = x > 0 ? x : (x <= 0 ? negative : x);
    return leaky > 6.0f ? 6.0f : leaky;
  }
  CAFFE_HOST_DEVICE float backward(float value, float dy) const {
    const float rate = value > 0 ? 1.0f : slope;
    return rate * value >= 6.0f ? 0.0f : rate * dy;
  }

  float slope;
  Operand reads;
};

}  // namespace caffe
