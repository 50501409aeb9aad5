// What recurrent layers have in common: the shapes of a batch of sequences, and the state they carry on.
#pragma once

#include "core/layer.hpp"

namespace caffe {

// The bottoms of a recurrent layer with H outputs are
//
//   x (T, N, ...), cont (T, N)[, x_static (N, ...)][, its hidden blobs before the first step, (1, N, H) each]
//
// The hidden blobs are there with expose_hidden, and then those after the last step follow the top (T, N, H).
struct Sequence {
  Sequence() = default;
  // Throws ShapeError where the shapes do not fit together. `hidden` names the hidden blobs.
  Sequence(const std::vector<Shape>& bottoms, int64_t outputs, const std::vector<const char*>& hidden,
           bool exposed);

  int64_t steps = 0, items = 0, inputs = 0;  // T, N, and the values of x for one step and item
  int64_t statics = 0;                       // values of x_static for one item, 0 without
  int64_t outputs = 0;                       // H
  size_t first_hidden = 0;                   // index of the first hidden bottom, if exposed

  bool has_static() const { return statics > 0; }
  bool empty() const { return rows() == 0; }
  int64_t rows() const { return steps * items; }
  int64_t units() const { return items * outputs; }  // values of one hidden blob
  Shape hidden_shape() const { return {1, items, outputs}; }
  Shape top_shape() const { return {steps, items, outputs}; }
};

// Gives the state these shapes; it is zero afterwards if it had others.
void reshape_state(const Blobs& state, const std::vector<Shape>& shapes);

std::vector<Shape> shapes_of(const Blobs& blobs);

// Refuses bottoms that ask for learned blobs of other shapes than there are.
void require_params(const std::vector<Shape>& wanted, const Blobs& params);

}  // namespace caffe
