// MultinomialLogisticLoss: of probabilities p, as a Softmax layer makes them.
//
//   loss = -log q,  dp[label] = -1 / q,  q = max(p[label], 1e-20)
#pragma once

#include <cmath>

#include "formulas/row_formula.hpp"

namespace caffe {

struct MultinomialLogisticLoss : RowFormula {
  static constexpr bool kSoftmax = false;

  explicit MultinomialLogisticLoss(const Args&) {}

  template <class Row>
  CAFFE_DEVICE float loss(const Row& row, int label) const {
    return -std::log(raised(row.score(label)));
  }

  template <class Row>
  CAFFE_DEVICE auto gradient(const Row&, int label, float scale) const {
    return [=](int c, float p) { return c == label ? -scale / raised(p) : 0.0f; };
  }

  CAFFE_DEVICE static float raised(float p) { return p < 1e-20f ? 1e-20f : p; }  // NaN stays
};

}  // namespace caffe
