// InfogainLoss: cross entropy of the softmax p of the scores and the label's row of the infogain matrix H.
//
//   loss = sum_c H[label][c] * min(-log p[c], -log 1e-20)
//   dx[c] = p[c] * sum_k H[label][k] - H[label][c]
//
// The floor of the probability, 1e-20, is Caffe's; the gradient does not know it.
#pragma once

#include "formulas/row_formula.hpp"

namespace caffe {

struct InfogainLoss : RowFormula {
  static constexpr bool kSoftmax = true;
  static constexpr float kMost = 46.0517019f;  // -log 1e-20

  explicit InfogainLoss(const Args&) {}

  static std::vector<float> constants(const Args& args) { return args.reals("infogain"); }

  void check(int64_t classes, size_t given, const std::vector<Shape>& bottoms) const {
    const int64_t size = bottoms.size() > 2 ? count(bottoms[2]) : static_cast<int64_t>(given);
    if (size != classes * classes)
      throw ShapeError(message("the infogain matrix of ", classes, " classes needs ", classes * classes,
                               " values, got ", size));
  }

  template <class Row>
  CAFFE_DEVICE float loss(const Row& row, int label) const {
    const float* gains = values + int64_t{label} * row.classes;
    return row.sum([&](int c, float x) {
      const float loss = row.log_loss(x);
      return gains[c] * (loss > kMost ? kMost : loss);
    });
  }

  template <class Row>
  CAFFE_DEVICE auto gradient(const Row& row, int label, float scale) const {
    const float* gains = values + int64_t{label} * row.classes;
    const float all = row.sum([&](int c, float) { return gains[c]; });
    return [=](int c, float x) { return scale * (row.probability(x) * all - gains[c]); };
  }
};

}  // namespace caffe
