// A formula of a loss of one row of scores, x[c] for each class c, and its label. It is written once for both
// devices: math/row_loss.hpp makes a layer of it, here and in layers_cuda. It has
//
//   kSoftmax                     whether it is about the softmax of the scores
//   loss(row, label)             what the row adds to the sum
//   gradient(row, label, scale)  a function of c and x[c]: scale * dloss/dx[c]
//
// and what the base class has, if something else is wanted. Of the row it asks
//
//   row.classes, row.score(c)    how many there are, and x[c]
//   row.sum(f)                   the sum of f(c, x[c]) over all classes
//   row.probability(x)           with kSoftmax: the softmax p of a class with score x,
//   row.log_loss(x)              and -log p, exact where p is small
//
// On a GPU a team of threads calls loss() and gradient() together, with the same label.
#pragma once

#include "core/error.hpp"
#include "core/layer.hpp"

namespace caffe {

struct RowFormula {
  // The constants below, or the third bottom if there is one, on the layer's device.
  const float* values = nullptr;

  static std::vector<float> constants(const Args&) { return {}; }

  // Throws ShapeError if it cannot be: `given` is the number of constants.
  void check(int64_t /*classes*/, size_t /*given*/, const std::vector<Shape>& /*bottoms*/) const {}
};

}  // namespace caffe
