// Sums down the columns of a matrix, in the order of its rows whatever the number of threads.
#pragma once

#include <algorithm>

#include "core/parallel.hpp"
#include "math/elementwise.hpp"

namespace caffe {

// Calls body(begin, end) on pieces of the columns that together take the time of (rows, columns) additions.
template <class Body>
void for_each_columns(int64_t rows, int64_t columns, Body&& body) {
  const int64_t grain = std::max<int64_t>(16, kElementwiseGrain / std::max<int64_t>(1, rows));
  parallel_for(columns, grain, [&](int64_t begin, int64_t end, int) { body(begin, end); });
}

// sums[n] += sum over m of dy[m, n]. The rows are added up apart, so that a gradient and its opposite, of a
// layer that shares the sums, leave nothing: Adam makes whole steps of what is left.
template <class T>
void add_column_sums(const T* dy, float* sums, int64_t rows, int64_t columns) {
  constexpr int64_t kMost = 256;  // columns at a time
  for_each_columns(rows, columns, [=](int64_t begin, int64_t end) {
    for (int64_t first = begin, size = 0; first < end; first += size) {
      size = std::min(kMost, end - first);
      float apart[kMost] = {};
      for (int64_t m = 0; m < rows; ++m) add_to(apart, dy + m * columns + first, size);
      add_to(sums + first, apart, size);
    }
  });
}

}  // namespace caffe
