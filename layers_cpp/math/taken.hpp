// Which elements maxima were taken from: what a search starts with, and the number that stands for "none". On
// both devices.
#pragma once

#include <type_traits>

#include "core/dtype.hpp"

namespace caffe {

template <class T>
CAFFE_HOST_DEVICE constexpr float lowest() {
  // -FLT_MAX would round to -infinity in bfloat16.
  return std::is_same_v<T, float> ? -0x1.fffffep127f : -0x1.fep127f;
}

// The largest number of its type.
template <class Number>
constexpr Number kNone = static_cast<Number>(-1);

}  // namespace caffe
