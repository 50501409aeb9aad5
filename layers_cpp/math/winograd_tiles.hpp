// What the passes of Winograd's algorithm share: where tiles lie, how windows of an image become rows of 36
// matrices, and how packed kernels lie in memory.
#pragma once

#include <algorithm>
#include <type_traits>

#include "math/panel_product.hpp"
#include "math/winograd.hpp"
#include "math/winograd_points.hpp"

namespace caffe::winograd {

constexpr int kProducts = kPoints * kPoints;
constexpr int kPanel = kPanelVectors * kLanes;
constexpr int kLine = 16;  // floats of a cache line

inline int64_t round_up(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// Matrices of one size, one for each product of a tile in some columns of the six by six, one behind the
// other.
struct Matrices {
  float* data;
  Columns columns;
  int64_t row, matrix;
  Matrices(float* data, int64_t rows, int64_t row_floats, Columns columns = {})
      : data(data), columns(columns), row(row_stride(row_floats)), matrix(matrix_floats(rows, row_floats)) {}

  // An odd number of lines here too: a transform writes to the same place of all matrices.
  static int64_t matrix_floats(int64_t rows, int64_t row_floats) {
    return (rows * row_stride(row_floats) / kLine | 1) * kLine;
  }
  static int64_t floats(int64_t rows, int64_t row_floats, Columns columns = {}) {
    return kPoints * (columns.end - columns.begin) * matrix_floats(rows, row_floats);
  }

  // Where the product at (i, j) of the six by six keeps its element (row index, column).
  float* at(int i, int j, int64_t index, int64_t column) const {
    return data + ((j - columns.begin) * kPoints + i) * matrix + index * row + column;
  }
};

// The part of an image that a tile covers.
struct Tile {
  int64_t image, y, x;  // of the first output
};

inline Tile tile_at(const WinogradShape& s, int64_t index) {
  const int64_t across = (s.out_width + s.tile() - 1) / s.tile(),
                down = (s.out_height + s.tile() - 1) / s.tile();
  return {index / (across * down), index / across % down * s.tile(), index % across * s.tile()};
}

// A kSize x kSize window, from (y, x) on, of a map whose first element is `map`; outside the map it is zero.
template <int kSize, class T>
struct Window {
  const T* map;
  int64_t channels, height, width, y, x;

  bool inside() const { return y >= 0 && x >= 0 && y + kSize <= height && x + kSize <= width; }
  bool holds(int64_t row, int64_t column) const {
    return y + row >= 0 && y + row < height && x + column >= 0 && x + column < width;
  }
  template <class Lanes>
  Floats at(int64_t row, int64_t column, int64_t channel, Lanes lanes) const {
    return load(map + ((y + row) * width + x + column) * channels + channel, lanes);
  }
  // Calls transform(read), where read(row, column) gives `lanes` channels from `channel` on.
  template <class Lanes, class Transform>
  void read(int64_t channel, Lanes lanes, Transform&& transform) const {
    if (inside())
      transform([&](int row, int column) { return at(row, column, channel, lanes); });
    else
      transform([&](int row, int column) {
        return holds(row, column) ? at(row, column, channel, lanes) : Floats{};
      });
  }
};

// The windows of `count` tiles from `first` on, one group's channels.
template <class T>
void transform_windows(const WinogradShape& s, const T* x, int64_t group, int64_t first, int64_t count,
                       const Matrices& windows) {
  const int64_t channels = s.channels / s.groups;
  for (int64_t t = 0; t < count; ++t) {
    const Tile tile = tile_at(s, first + t);
    const T* map = x + tile.image * s.height * s.width * s.channels + group * channels;
    const Window<kPoints, T> window{
        map, s.channels, s.height, s.width, tile.y - s.pad_height, tile.x - s.pad_width};
    for_each_vector(channels, [&](int64_t start, auto lanes) {
      window.read(start, lanes, [&](auto read) {
        inputs_2d(windows.columns, read, [&](int i, int j, Floats value) {
          store_raw(value, windows.at(i, j, t, start), kAllLanes);
        });
      });
    });
  }
}

// Packed kernels of a group: for each of the 36 products a matrix channels x outputs, cut into panels of
// kPanel outputs; a panel's rows are contiguous.

inline int64_t group_floats(const WinogradShape& s) {
  return kProducts * (s.channels / s.groups) * round_up(s.outputs / s.groups, kLanes);
}

// Where a vector of outputs, `start` of them before it, begins within a product's matrix, and its row stride.
struct Panel {
  int64_t offset, stride;
};

inline Panel panel_of(const WinogradShape& s, int64_t start) {
  const int64_t channels = s.channels / s.groups, outputs = round_up(s.outputs / s.groups, kLanes);
  const int64_t panel = start / kPanel * kPanel;
  return {panel * channels + (start - panel), std::min<int64_t>(kPanel, outputs - panel)};
}

}  // namespace caffe::winograd
