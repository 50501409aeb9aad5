#include "core/shape.hpp"

#include "core/error.hpp"

namespace caffe {

int64_t count(const Shape& shape) {
  if (static_cast<int64_t>(shape.size()) > kMaxAxes)
    throw ShapeError(message("a blob may have at most ", kMaxAxes, " axes, got ", shape.size()));
  int64_t product = 1;
  bool empty = false;
  for (const int64_t dim : shape) {
    if (dim < 0) throw ShapeError(message("negative dimension in shape ", to_string(shape)));
    if (dim > kMaxCount) throw ShapeError(message("dimension over 2^31 - 1 in shape ", to_string(shape)));
    if (dim == 0) empty = true;
    if (!empty && product > kMaxCount / dim)
      throw ShapeError(message("shape ", to_string(shape), " has more than 2^31 - 1 elements"));
    if (!empty) product *= dim;
  }
  return empty ? 0 : product;
}

int64_t count(const Shape& shape, size_t begin, size_t end) {
  int64_t product = 1;
  for (size_t axis = begin; axis < end; ++axis) product *= shape[axis];
  return product;
}

size_t canonical_axis(const Shape& shape, int64_t axis) {
  const int64_t axes = static_cast<int64_t>(shape.size());
  if (axis < -axes || axis >= axes)
    throw ShapeError(message("axis ", axis, " is out of range for shape ", to_string(shape)));
  return static_cast<size_t>(axis < 0 ? axis + axes : axis);
}

std::string to_string(const Shape& shape) {
  std::string text = "(";
  for (size_t axis = 0; axis < shape.size(); ++axis) {
    if (axis > 0) text += ", ";
    text += std::to_string(shape[axis]);
  }
  return text + ")";
}

}  // namespace caffe
