// Clip: y = max(min, min(x, max)).
//
// Gradient: dx = dy where min <= x <= max, else 0. NaN passes through.
#pragma once

#include "formulas/formula.hpp"

namespace caffe {

struct Clip {
  explicit Clip(const Args& args) : low(args.real("min")), high(args.real("max")) {}

  static constexpr int cost = 1;
  static constexpr Operand reads = Operand::x;
  CAFFE_HOST_DEVICE float forward(float x) const { return x < low ? low : (x > high ? high : x); }
  CAFFE_HOST_DEVICE float backward(float x, float dy) const { return x < low || x > high ? 0.0f : dy; }

  float low, high;
};

}  // namespace caffe
