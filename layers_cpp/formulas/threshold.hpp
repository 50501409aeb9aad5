// Threshold: y = 1 where x > threshold, else 0. No gradient.
#pragma once

#include "formulas/formula.hpp"

namespace caffe {

struct Threshold {
  explicit Threshold(const Args& args) : threshold(args.real("threshold")) {}

  static constexpr int cost = 1;
  CAFFE_HOST_DEVICE float forward(float x) const { return x > threshold ? 1.0f : 0.0f; }

  float threshold;
};

}  // namespace caffe
