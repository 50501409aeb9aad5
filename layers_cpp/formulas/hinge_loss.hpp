// HingeLoss: one against all. With d = 1 for the label and -1 for every other class,
//
//   m[c] = max(0, 1 - d x[c])      loss = sum_c m[c], or of the squares
//   dx[c] = -d where m[c] > 0, or -2 d m[c]
#pragma once

#include "formulas/row_formula.hpp"

namespace caffe {

struct HingeLoss : RowFormula {
  static constexpr bool kSoftmax = false;

  explicit HingeLoss(const Args& args) : squares(args.flag("squares")) {}

  template <class Row>
  CAFFE_DEVICE float loss(const Row& row, int label) const {
    return row.sum([&](int c, float x) {
      const float m = margin(x, c == label);
      return squares ? m * m : m;
    });
  }

  template <class Row>
  CAFFE_DEVICE auto gradient(const Row&, int label, float scale) const {
    return [=, *this](int c, float x) {
      const float m = margin(x, c == label), size = squares ? 2.0f * m : m > 0 ? 1.0f : 0.0f;
      return c == label ? -scale * size : scale * size;
    };
  }

  CAFFE_DEVICE static float margin(float x, bool is_label) {
    const float m = is_label ? 1.0f - x : 1.0f + x;
    return m < 0 ? 0.0f : m;  // NaN stays
  }

  bool squares;
};

}  // namespace caffe
