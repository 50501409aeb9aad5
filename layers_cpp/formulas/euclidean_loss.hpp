// EuclideanLoss: half the square of the difference.
#pragma once

#include "core/args.hpp"
#include "core/dtype.hpp"

namespace caffe {

struct EuclideanLoss {
  static constexpr bool kLabels = false;

  explicit EuclideanLoss(const Args&) {}

  CAFFE_DEVICE float loss(float a, float b) const { return 0.5f * (a - b) * (a - b); }
  CAFFE_DEVICE float gradient(float a, float b) const { return a - b; }
};

}  // namespace caffe
