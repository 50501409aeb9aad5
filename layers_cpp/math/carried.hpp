// What goes on from one step of a sequence to the next.
#pragma once

#include "core/dtype.hpp"

namespace caffe {

// `factor` times the value before, which counts for nothing where the factor is 0.
CAFFE_HOST_DEVICE inline float carried(float factor, float value) {
  return factor == 0.0f ? 0.0f : factor * value;
}

}  // namespace caffe
