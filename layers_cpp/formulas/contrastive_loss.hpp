// ContrastiveLoss: of a pair of vectors at a distance d, similar or not. `margin` is how far apart others
// should be.
//
//   2 loss = d^2 if similar, else max(0, margin - d)^2, or by the legacy formula max(0, margin - d^2)
//
// Its gradient is factor * (a - b) for a, and minus that for b.
#pragma once

#include <cmath>

#include "core/args.hpp"
#include "core/dtype.hpp"

namespace caffe {

struct ContrastiveLoss {
  explicit ContrastiveLoss(const Args& args) : margin(args.real("margin")), legacy(args.flag("legacy")) {}

  CAFFE_DEVICE float loss(float square, bool similar) const {
    if (similar) return 0.5f * square;
    const float missing = margin - (legacy ? square : std::sqrt(square));
    if (missing <= 0) return 0;
    return 0.5f * (legacy ? missing : missing * missing);
  }

  CAFFE_DEVICE float factor(float square, bool similar) const {
    if (similar) return 1;
    const float distance = std::sqrt(square), missing = margin - (legacy ? square : distance);
    if (missing <= 0) return 0;
    return legacy ? -1.0f : -missing / (distance + 1e-4f);  // a distance of 0 has no direction
  }

  float margin;
  bool legacy;
};

}  // namespace caffe
