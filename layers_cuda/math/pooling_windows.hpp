// Where the windows of a pooling lie on maps of rows by columns by channels, and what a thread works on.
#pragma once

#include "core/division.hpp"
#include "core/launch.hpp"

namespace caffe::cuda {

constexpr int kPoolingThreads = 128;

struct Range {
  int begin, end;
};

// One direction, height or width.
struct Extent {
  int in = 0, out = 0, kernel = 1, stride = 1, pad = 0;
  int border = 0;  // as much of the padding counts in the size of a window
  Divisor by_in{}, by_out{}, by_stride{};

  __device__ int start(int o) const { return o * stride - pad; }
  // The part of window `o` that lies inside the image.
  __device__ Range window(int o) const { return {max(0, start(o)), min(start(o) + kernel, in)}; }
  // Length of window `o`, cut where the border ends; not positive if it begins beyond.
  __device__ int length(int o) const { return min(start(o) + kernel, in + border) - max(start(o), -border); }
  // The windows over place `i`.
  __device__ Range windows_over(int i) const {
    const int reached = i + pad;
    const int first = reached < kernel ? 0 : static_cast<int>(by_stride.quotient(reached - kernel)) + 1;
    return {first, min(static_cast<int>(by_stride.quotient(reached)) + 1, out)};
  }
  __device__ bool inside(int i) const { return static_cast<unsigned>(i) < static_cast<unsigned>(in); }
};

struct Geometry {
  int images = 0, channels = 0;
  Extent h, w;
  Divisor by_packs{};  // packs of channels a place

  __device__ int in_offset(int n, int y, int x) const { return ((n * h.in + y) * w.in + x) * channels; }
  __device__ int out_offset(int n, int y, int x) const { return ((n * h.out + y) * w.out + x) * channels; }
  // Of place (y, x) within the whole window (oh, ow), row-major.
  __device__ int number(int oh, int ow, int y, int x) const {
    return (y - h.start(oh)) * w.kernel + x - w.start(ow);
  }
  __device__ float area(int oh, int ow) const { return static_cast<float>(h.length(oh) * w.length(ow)); }
};

// Where a thread works: image, row, column, first channel.
struct Place {
  int n, y, x, c;
};

template <int kCount>
__device__ Place place_of(uint32_t item, const Divisor& packs, const Divisor& width, const Divisor& height) {
  Place place;
  place.c = static_cast<int>(packs.split(item)) * kCount;
  place.x = static_cast<int>(width.split(item));
  place.y = static_cast<int>(height.split(item));
  place.n = static_cast<int>(item);
  return place;
}

__device__ inline uint32_t item_of_thread() { return blockIdx.x * kPoolingThreads + threadIdx.x; }

// Calls body(offset, number) for the elements of window (oh, ow) inside the image: that of the first channel,
// and the number of the element within the whole window.
template <class Body>
__device__ void for_each_in_window(const Geometry& g, int n, int oh, int ow, Body body) {
  const Range rows = g.h.window(oh), columns = g.w.window(ow);
  for (int y = rows.begin; y < rows.end; ++y)
    for (int x = columns.begin; x < columns.end; ++x) body(g.in_offset(n, y, x), g.number(oh, ow, y, x));
}

}  // namespace caffe::cuda
