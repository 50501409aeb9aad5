// Product of a matrix with one narrow panel of another, the inner kernel of matrix products:
//
//   c[r, n] = sum over k of a[r, k] * b[k, n]      (added to c where `accumulate`)
//
// for `rows` rows and n in a panel of one or two vectors. Sums run over k in order, so a result depends
// neither on how the rows are split nor on the thread that computes it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>

#include "math/simd.hpp"

namespace caffe {

// Rows whose accumulators, two vectors each, fill the registers.
#ifdef __AVX512F__
constexpr int kPanelRows = 14;
#else
constexpr int kPanelRows = 6;
#endif
constexpr int kPanelVectors = 2;

// Stride for rows of a temporary matrix: whole cache lines, an odd number, so that a column of rows spreads
// over the whole cache instead of falling into a few of its sets.
inline int64_t row_stride(int64_t columns) {
  constexpr int64_t kLine = 16;  // floats
  return ((columns + kLine - 1) / kLine | 1) * kLine;
}

// A matrix with `stride` floats from one row to the next.
struct ConstMatrix {
  const float* data;
  int64_t stride;
};
struct Matrix {
  float* data;
  int64_t stride;
};

// kTransposed: element (r, k) of `a` lies at data[k * stride + r], otherwise at data[r * stride + k].
template <bool kTransposed, int kRows, int kVectors>
void multiply_block(int64_t depth, ConstMatrix a, ConstMatrix b, Matrix c, bool accumulate) {
  Floats sum[kRows][kVectors];
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v)
      sum[r][v] = accumulate ? load_raw<Floats>(c.data + r * c.stride + v * kLanes, kLanes) : Floats{};
  // One pointer for three rows: the others are within reach of an addressing mode.
  const float* row[(kRows + 2) / 3];
  for (int r = 0; r < kRows; r += 3) row[r / 3] = a.data + r * a.stride;
  const float* column = a.data;
  for (int64_t k = 0; k < depth; ++k) {
    Floats panel[kVectors];
    for (int v = 0; v < kVectors; ++v)
      panel[v] = load_raw<Floats>(b.data + k * b.stride + v * kLanes, kLanes);
    for (int r = 0; r < kRows; ++r) {
      const Floats factor = broadcast(kTransposed ? column[r] : row[r / 3][r % 3 * a.stride + k]);
      for (int v = 0; v < kVectors; ++v) sum[r][v] += factor * panel[v];
    }
    column += a.stride;
  }
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v) store_raw(sum[r][v], c.data + r * c.stride + v * kLanes, kLanes);
}

// Calls the kernel made for `rows`, one of 1 to kPanelRows.
template <bool kTransposed, int kVectors, int... kLess>
void multiply_rows(int64_t rows, int64_t depth, ConstMatrix a, ConstMatrix b, Matrix c, bool accumulate,
                   std::integer_sequence<int, kLess...>) {
  const auto with = [&](auto count) {
    if (rows == count) multiply_block<kTransposed, count, kVectors>(depth, a, b, c, accumulate);
  };
  (with(std::integral_constant<int, kLess + 1>{}), ...);
}

// Rows are shared out evenly over as few blocks as possible: a block of few rows waits for its sums.
template <bool kTransposed, int kVectors>
void multiply_panel(int64_t rows, int64_t depth, ConstMatrix a, ConstMatrix b, Matrix c, bool accumulate) {
  const int64_t blocks = (rows + kPanelRows - 1) / kPanelRows;
  for (int64_t block = 0; block < blocks; ++block) {
    const int64_t r = rows * block / blocks, count = rows * (block + 1) / blocks - r;
    multiply_rows<kTransposed, kVectors>(count, depth, {a.data + (kTransposed ? r : r * a.stride), a.stride},
                                         b, {c.data + r * c.stride, c.stride}, accumulate,
                                         std::make_integer_sequence<int, kPanelRows>{});
  }
}

// Vectors of the panel that begins `columns` before the end.
inline int64_t panel_vectors(int64_t columns) {
  return std::min<int64_t>(kPanelVectors, (columns + kLanes - 1) / kLanes);
}

// The same for a panel of one or two vectors.
template <bool kTransposed>
void multiply_panel(int64_t rows, int64_t depth, int64_t vectors, ConstMatrix a, ConstMatrix b, Matrix c,
                    bool accumulate) {
  if (vectors == 1)
    multiply_panel<kTransposed, 1>(rows, depth, a, b, c, accumulate);
  else
    multiply_panel<kTransposed, 2>(rows, depth, a, b, c, accumulate);
}

}  // namespace caffe
