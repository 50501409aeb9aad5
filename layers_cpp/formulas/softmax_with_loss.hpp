// SoftmaxWithLoss: cross entropy of the softmax p of the scores and a target t, the label's one-hot vector
// or, smoothed by e, what is left of it and e / C for each of the C classes.
//
//   loss = w[label] * sum_c t[c] * min(-log p[c], -log FLT_MIN)
//   dx[c] = w[label] * (p[c] - t[c])
//
// with weights w of the classes, 1 if none are given. The floor of the probability, FLT_MIN, is Caffe's; the
// gradient does not know it.
#pragma once

#include "formulas/row_formula.hpp"

namespace caffe {

struct SoftmaxWithLoss : RowFormula {
  static constexpr bool kSoftmax = true;
  static constexpr float kMost = 87.3365448f;  // -log FLT_MIN

  explicit SoftmaxWithLoss(const Args& args)
      : smoothing(args.real("label_smoothing")), weighs(args.flag("weighs_classes")) {}

  static std::vector<float> constants(const Args& args) { return args.reals("class_weights"); }

  void check(int64_t classes, size_t given, const std::vector<Shape>&) const {
    if (weighs && static_cast<int64_t>(given) != classes)
      throw ShapeError(
          message("class_weighting needs one weight for each of ", classes, " classes, got ", given));
  }

  template <class Row>
  CAFFE_DEVICE float loss(const Row& row, int label) const {
    const auto term = [&](int, float x) {
      const float loss = row.log_loss(x);
      return loss > kMost ? kMost : loss;
    };
    float loss = term(label, row.score(label));
    if (smoothing > 0) loss = (1.0f - smoothing) * loss + share(row) * row.sum(term);
    return weight(label) * loss;
  }

  template <class Row>
  CAFFE_DEVICE auto gradient(const Row& row, int label, float scale) const {
    const float factor = scale * weight(label), other = share(row), own = (1.0f - smoothing) + other;
    return [=](int c, float x) { return factor * (row.probability(x) - (c == label ? own : other)); };
  }

  // What smoothing gives every class.
  template <class Row>
  CAFFE_DEVICE float share(const Row& row) const {
    return smoothing / static_cast<float>(row.classes);
  }
  CAFFE_DEVICE float weight(int label) const { return values ? values[label] : 1.0f; }

  float smoothing;
  bool weighs;
};

}  // namespace caffe
