// Log: y = log_base(shift + scale x); base -1 stands for e.
//
// Gradient: dx = dy scale / (ln(base) (shift + scale x)).
#pragma once

#include <cmath>

#include "formulas/formula.hpp"
#include "math/vector_math.hpp"

namespace caffe {

struct Log {
  explicit Log(const Args& args) : scale(args.real("scale")), shift(args.real("shift")) {
    const double base = args.real("base"), log_base = base == -1 ? 1.0 : std::log(base);
    factor = static_cast<float>(1.0 / log_base);
    rate = static_cast<float>(scale / log_base);
  }

  static constexpr int cost = 4;
  static constexpr Operand reads = Operand::x;
  CAFFE_HOST_DEVICE float forward(float x) const { return factor * vector_log(scale * x + shift); }
  CAFFE_HOST_DEVICE float backward(float x, float dy) const { return dy * rate / (scale * x + shift); }

  float scale, shift;
  float factor;  // 1 / ln(base)
  float rate;    // scale / ln(base)
};

}  // namespace caffe
