// AbsVal: y = |x|.
//
// Gradient: dx = dy sign(x), 0 at 0.
#pragma once

#include "formulas/formula.hpp"

namespace caffe {

struct AbsVal {
  explicit AbsVal(const Args&) {}

  static constexpr int cost = 1;
  static constexpr Operand reads = Operand::x;
  CAFFE_HOST_DEVICE float forward(float x) const {
    return std::bit_cast<float>(std::bit_cast<uint32_t>(x) & 0x7fffffffu);
  }
  CAFFE_HOST_DEVICE float backward(float x, float dy) const { return x > 0 ? dy : (x < 0 ? -dy : 0.0f); }
};

}  // namespace caffe
