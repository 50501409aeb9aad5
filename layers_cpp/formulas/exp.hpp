// Exp: y = base^(shift + scale x); base -1 stands for e.
//
// Gradient: dx = dy y scale ln(base).
#pragma once

#include <cmath>

#include "formulas/formula.hpp"
#include "math/vector_math.hpp"

namespace caffe {

struct Exp {
  explicit Exp(const Args& args) {
    const double base = args.real("base"), log_base = base == -1 ? 1.0 : std::log(base);
    rate = static_cast<float>(log_base * args.real("scale"));
    offset = static_cast<float>(log_base * args.real("shift"));
  }

  static constexpr int cost = 4;
  static constexpr Operand reads = Operand::y;
  CAFFE_HOST_DEVICE float forward(float x) const { return vector_exp(rate * x + offset); }
  CAFFE_HOST_DEVICE float backward(float y, float dy) const { return dy * y * rate; }

  float rate, offset;
};

}  // namespace caffe
