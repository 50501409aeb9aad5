// Sums down the columns of a matrix, in the order of its rows whatever the number of threads.
#pragma once

#include <algorithm>

#include "core/parallel.hpp"

namespace caffe {

// Calls body(begin, end) on pieces of the columns that together take the time of (rows, columns) additions.
template <class Body>
void for_each_columns(int64_t rows, int64_t columns, Body&& body) {
  const int64_t grain = std::max<int64_t>(16, kElementwiseGrain / std::max<int64_t>(1, rows));
  parallel_for(columns, grain, [&](int64_t begin, int64_t end, int) { body(begin, end); });
}

// sums[n] += sum over m of dy[m, n]
template <class T>
void add_column_sums(const T* dy, float* sums, int64_t rows, int64_t columns) {
  for_each_columns(rows, columns, [=](int64_t begin, int64_t end) {
    for (int64_t m = 0; m < rows; ++m) {
      const T* row = dy + m * columns;
#pragma omp simd
      for (int64_t n = begin; n < end; ++n) sums[n] += static_cast<float>(row[n]);
    }
  });
}

}  // namespace caffe
