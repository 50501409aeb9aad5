// Class labels as Caffe carries them: float values, truncated towards zero; one value may stand for "ignore".
#pragma once

#include <optional>
#include <string>

#include "core/error.hpp"

namespace caffe {

// Words a label that is no class.
inline std::string bad_label(float label, int64_t place, int64_t classes) {
  return message("label ", label, " at position ", place, " is not in the range 0 to ", classes - 1,
                 " of the ", classes, " classes");
}

class Labels {
 public:
  // Throws DataError for a label outside [0, classes) that is not the ignored one, so that what follows, in
  // parallel, need not check.
  Labels(const float* values, int64_t count, int64_t classes, std::optional<int64_t> ignore)
      : values_(values), ignore_(ignore) {
    for (int64_t i = 0; i < count; ++i) {
      if (!in_int_range(values[i])) refuse(i, classes);
      if (ignored(i)) continue;
      if ((*this)[i] < 0 || (*this)[i] >= classes) refuse(i, classes);
      ++valid_;
    }
  }

  int64_t operator[](int64_t i) const { return static_cast<int64_t>(values_[i]); }
  bool ignored(int64_t i) const { return ignore_ && (*this)[i] == *ignore_; }
  int64_t valid() const { return valid_; }  // how many are not ignored

 private:
  static bool in_int_range(float value) { return value > -2147483904.0f && value < 2147483648.0f; }

  [[noreturn]] void refuse(int64_t i, int64_t classes) const {
    throw DataError(bad_label(values_[i], i, classes));
  }

  const float* values_;
  std::optional<int64_t> ignore_;
  int64_t valid_ = 0;
};

}  // namespace caffe
