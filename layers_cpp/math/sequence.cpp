#include "math/sequence.hpp"

#include "core/error.hpp"

namespace caffe {
namespace {

void require(bool holds, const char* name, const char* wanted, const Shape& shape) {
  if (!holds) throw ShapeError(message(name, " must have shape ", wanted, ", got ", to_string(shape)));
}

void require_shape(const char* name, const Shape& shape, const Shape& wanted, const char* words) {
  if (shape != wanted)
    throw ShapeError(
        message(name, " must have shape ", words, " = ", to_string(wanted), ", got ", to_string(shape)));
}

}  // namespace

Sequence::Sequence(const std::vector<Shape>& bottoms, int64_t outputs, const std::vector<const char*>& hidden,
                   bool exposed)
    : outputs(outputs), first_hidden(bottoms.size() - (exposed ? hidden.size() : 0)) {
  const Shape& x = bottoms[0];
  require(x.size() >= 2, "x", "(T, N, ...)", x);
  steps = x[0];
  items = x[1];
  inputs = count(x, 2);
  require(inputs > 0, "x", "(T, N, ...) with values for each item", x);
  require_shape("cont", bottoms[1], {steps, items}, "(T, N)");
  if (first_hidden > 2) {
    const Shape& fixed = bottoms[2];
    require(!fixed.empty() && count(fixed, 1) > 0, "x_static", "(N, ...) with values for each item", fixed);
    if (fixed[0] != items)
      throw ShapeError(message("x_static must have the N = ", items, " items of x, got ", to_string(fixed)));
    statics = count(fixed, 1);
  }
  for (size_t i = 0; exposed && i < hidden.size(); ++i)
    require_shape(hidden[i], bottoms[first_hidden + i], hidden_shape(), "(1, N, H)");
}

void reshape_state(const Blobs& state, const std::vector<Shape>& shapes) {
  for (size_t i = 0; i < state.size(); ++i) {
    if (state[i]->shape() == shapes[i]) continue;
    state[i]->reshape(shapes[i]);
    state[i]->data_storage().clear();
  }
}

std::vector<Shape> shapes_of(const Blobs& blobs) {
  std::vector<Shape> shapes;
  for (const BlobPtr& blob : blobs) shapes.push_back(blob->shape());
  return shapes;
}

void require_params(const std::vector<Shape>& wanted, const Blobs& params) {
  for (size_t i = 0; i < wanted.size(); ++i)
    if (wanted[i] != params[i]->shape())
      throw ShapeError(message("input size incompatible: learned blob ", i, " is ",
                               to_string(params[i]->shape()), ", the bottoms want ", to_string(wanted[i])));
}

}  // namespace caffe
