// The shapes of several tops, given as two flat lists of numbers: how many axes each shape has, and all dims
// in a row.
#pragma once

#include "core/args.hpp"
#include "core/shape.hpp"

namespace caffe {

// Checks every shape; throws ShapeError for one no blob can have.
inline std::vector<Shape> shape_list(const Args& args) {
  const std::vector<int64_t> axes = args.integers("axes"), dims = args.integers("dims");
  std::vector<Shape> shapes;
  auto next = dims.begin();
  for (const int64_t length : axes) {
    shapes.emplace_back(next, next + length);
    next += length;
    count(shapes.back());
  }
  return shapes;
}

}  // namespace caffe
