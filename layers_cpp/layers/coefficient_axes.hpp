// Which axes of the first bottom the coefficients of Scale and Bias belong to.
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "core/error.hpp"
#include "core/shape.hpp"

namespace caffe {

// The axes [begin, end) of bottom 0. One bottom: `num_axes` of them from `axis` on (-1: all to the end). Two
// bottoms: as many as bottom 1 has, with equal dims; a scalar bottom 1 belongs to no axis.
inline std::pair<size_t, size_t> coefficient_axes(const std::vector<Shape>& bottoms, int64_t axis,
                                                  int64_t num_axes) {
  const Shape& x = bottoms[0];
  if (bottoms.size() == 2 && bottoms[1].empty()) return {0, 0};
  const size_t begin = canonical_axis(x, axis);
  if (bottoms.size() == 1) {
    const size_t end = num_axes == -1 ? x.size() : begin + static_cast<size_t>(num_axes);
    if (end > x.size())
      throw ShapeError(message("axis ", axis, " and num_axes ", num_axes,
                               " reach past the last axis of bottom shape ", to_string(x)));
    return {begin, end};
  }
  const size_t end = begin + bottoms[1].size();
  if (end > x.size() ||
      !std::equal(bottoms[1].begin(), bottoms[1].end(), x.begin() + static_cast<int64_t>(begin)))
    throw ShapeError(message("bottom 1 of shape ", to_string(bottoms[1]), " does not fit bottom 0 of shape ",
                             to_string(x), " from axis ", begin, " on"));
  return {begin, end};
}

}  // namespace caffe
