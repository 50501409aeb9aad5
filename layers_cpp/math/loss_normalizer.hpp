// What a loss divides the sum of its terms by, Z, as loss_param says it:
//
//   full         the number of all labels
//   valid        of those that are not ignored
//   batch_size   of items
//   none         1
//   pre_fixed    a number that is given
//
// and at least 1, so that a batch with nothing to learn from has loss 0 and gradient 0.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "core/error.hpp"
#include "core/layer.hpp"

namespace caffe {

class LossNormalizer {
 public:
  explicit LossNormalizer(const Args& args)
      : mode_(args.text("normalization")), fixed_(args.real("normalizer")) {
    if (args.flag("ignores")) ignored_ = args.integer("ignore_label");
  }

  void reshape(int64_t labels, int64_t items) {
    labels_ = labels;
    items_ = items;
  }

  int64_t labels() const { return labels_; }
  bool counts_valid() const { return mode_ == "valid"; }

  double divisor(int64_t valid) const {
    double z = 1;
    if (mode_ == "full") z = static_cast<double>(labels_);
    if (mode_ == "valid") z = static_cast<double>(valid);
    if (mode_ == "batch_size") z = static_cast<double>(items_);
    if (mode_ == "pre_fixed") z = fixed_;
    return std::max(1.0, z);
  }

  std::optional<int64_t> ignored_label() const { return ignored_; }

  // The same as a value to compare with: truncated towards zero, a value with this label equals it. NaN,
  // which equals nothing, if no label is ignored.
  float ignored_value() const {
    return ignored_ ? static_cast<float>(*ignored_) : std::numeric_limits<float>::quiet_NaN();
  }

 private:
  const std::string mode_;
  const float fixed_;
  std::optional<int64_t> ignored_;
  int64_t labels_ = 0, items_ = 0;
};

// Throws ConfigError if a gradient is asked for of the labels, which are bottom `labels`, or of what comes
// behind them.
inline void refuse_gradients(const std::vector<bool>& propagate_down, size_t labels) {
  for (size_t i = labels; i < propagate_down.size(); ++i)
    if (propagate_down[i])
      throw ConfigError(message(i == labels ? "labels have" : message("bottom ", i, " has"),
                                " no gradient; leave out propagate_down for bottom ", i));
}

}  // namespace caffe
