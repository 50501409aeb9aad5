// HardSwish: y = x min(max(x + 3, 0), 6) / 6.
//
// Gradient: dx = dy (x <= -3 ? 0 : x >= 3 ? 1 : (2 x + 3) / 6).
#pragma once

#include "formulas/formula.hpp"

namespace caffe {

struct HardSwish {
  explicit HardSwish(const Args&) {}

  static constexpr int cost = 1;
  static constexpr Operand reads = Operand::x;
  CAFFE_HOST_DEVICE float forward(float x) const {
    const float gate = x + 3.0f;
    return x * ((gate < 0 ? 0.0f : (gate > 6 ? 6.0f : gate)) * (1.0f / 6));  // 6 x could be infinite
  }
  CAFFE_HOST_DEVICE float backward(float x, float dy) const {
    const float inside = (2.0f * x + 3.0f) * (1.0f / 6);
    return dy * (x <= -3 ? 0.0f : (x >= 3 ? 1.0f : inside));
  }
};

}  // namespace caffe
