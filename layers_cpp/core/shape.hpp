// Shapes in Caffe's logical axis order (N, C, H, W), and checked arithmetic on them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace caffe {

using Shape = std::vector<int64_t>;

constexpr int64_t kMaxAxes = 32;
constexpr int64_t kMaxCount = 2147483647;  // Caffe's INT_MAX; oneDNN 3.2 overflows beyond it

// Product of all dims; 1 for a scalar. Throws ShapeError for a negative dim, more than 32 axes or more than
// 2^31 - 1 elements.
int64_t count(const Shape& shape);

// Product of dims [begin, end), which must already have been checked by count().
int64_t count(const Shape& shape, size_t begin, size_t end);
inline int64_t count(const Shape& shape, size_t begin) { return count(shape, begin, shape.size()); }

// The index of an axis given from the front (0 ..) or the back (-1 ..); throws ShapeError when there is none.
size_t canonical_axis(const Shape& shape, int64_t axis);

std::string to_string(const Shape& shape);  // "(64, 20, 24, 24)"

}  // namespace caffe
