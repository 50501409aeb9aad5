// Class labels as kernels read them: float values, truncated towards zero; one value may stand for "ignore".
// A label that is no class is complained about, with the number of classes as the limit, and counts as
// ignored.
#pragma once

#include <optional>

#include "core/launch.hpp"

namespace caffe::cuda {

class ClassLabels {
 public:
  ClassLabels(const float* values, int64_t classes, std::optional<int64_t> ignore)
      : values_(values), classes_(static_cast<int>(classes)), ignore_(ignore ? *ignore : kNothing) {}

  // The class of label i, or -1 where it counts for nothing.
  __device__ int operator[](int i) const {
    const float value = values_[i];
    return is_class(value) ? static_cast<int>(value) : -1;
  }

  // Tells the executor of a label that is neither a class nor the ignored one.
  __device__ void check(int i, Complaint* complaint, int step) const {
    const float value = values_[i];
    if (is_class(value) || (in_int_range(value) && static_cast<int64_t>(value) == ignore_)) return;
    if (atomicCAS(&complaint->code, 0, 1) != 0) return;
    complaint->step = step;
    complaint->place = i;
    complaint->limit = classes_;
    complaint->value = value;
  }

 private:
  static constexpr int64_t kNothing = INT64_MIN;  // no label

  static __device__ bool in_int_range(float value) { return value > -2147483904.0f && value < 2147483648.0f; }
  __device__ bool is_class(float value) const {
    if (!in_int_range(value)) return false;
    const int64_t label = static_cast<int64_t>(value);
    return label != ignore_ && label >= 0 && label < classes_;
  }

  const float* values_;
  int classes_;
  int64_t ignore_;
};

}  // namespace caffe::cuda
