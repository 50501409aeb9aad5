// SigmoidCrossEntropyLoss: cross entropy of the sigmoid p of a score x and a target t in 0 .. 1.
//
//   loss = -t log p - (1 - t) log(1 - p) = max(x, 0) - t x + log(1 + e^-|x|)
//   dx = p - t
#pragma once

#include "core/args.hpp"
#include "math/vector_math.hpp"

namespace caffe {

struct SigmoidCrossEntropyLoss {
  static constexpr bool kLabels = true;

  explicit SigmoidCrossEntropyLoss(const Args&) {}

  CAFFE_DEVICE float loss(float x, float t) const {
    const float size = x < 0 ? -x : x, positive = x < 0 ? 0.0f : x;
    return positive - t * x + vector_log1p(vector_exp(-size));
  }
  CAFFE_DEVICE float gradient(float x, float t) const { return vector_sigmoid(x) - t; }
};

}  // namespace caffe
