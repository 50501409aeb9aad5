// One coefficient for each index along a range of a blob's axes, repeated over the other axes: what Scale and
// Bias compute with. In memory order, plain or channels-last, the blob is always of the form
//   x[a][b][r][d]   with coefficient k = b * D + d   (a < A, b < B, r < R, d < D; any of them may be 1)
// so that plain (N, C, H, W) with one coefficient a channel is A = N, B = C, R = H * W, D = 1, and
// channels-last is A = N * H * W, D = C. Coefficients are taken in this memory order ("packed").
#pragma once

#include <algorithm>
#include <array>
#include <tuple>

#include "core/blob.hpp"

namespace caffe {

class Broadcast {
 public:
  Broadcast() = default;

  // Coefficients belong to the blob's logical axes [begin, end).
  Broadcast(const Blob& blob, size_t begin, size_t end) : count_(blob.count()) {
    const Shape& shape = blob.shape();
    coefficients_ = caffe::count(shape, begin, end);
    const bool channels_last = blob.layout() == Layout::channels_last;
    fold(shape, begin, end, channels_last);
    if (channels_last && begin <= 1 && end > 2) {
      channels_ = shape[1];
      spatial_ = caffe::count(shape, 2, end);
    }
  }

  int64_t count() const { return count_; }
  int64_t coefficients() const { return coefficients_; }
  bool packed() const { return channels_ > 1 && spatial_ > 1; }  // memory order differs from the logical one

  // For kernels that walk the memory themselves: A, B, R, D, and, if packed(), how many channels and how many
  // places a channel the coefficients have, else 1 and 1.
  std::array<int64_t, 4> extents() const { return {a_, b_, r_, d_}; }
  int64_t channels() const { return packed() ? channels_ : 1; }
  int64_t spatial() const { return packed() ? spatial_ : 1; }

  // Calls move(logical index, packed index) for every coefficient.
  template <class Move>
  void for_each_coefficient(Move&& move) const {
    if (!packed()) {
      for (int64_t k = 0; k < coefficients_; ++k) move(k, k);
      return;
    }
    for (int64_t k = 0; k < coefficients_; ++k) {
      const int64_t spatial = k % spatial_, channel = k / spatial_ % channels_,
                    before = k / spatial_ / channels_;
      move(k, (before * spatial_ + spatial) * channels_ + channel);
    }
  }

  // Calls run(x, size, k, each) on pieces of the elements [begin, end), short enough for the first-level
  // cache: elements x .. x + size - 1 have the coefficients k, k + 1, .. if `each`, else all the coefficient
  // k.
  template <class Run>
  void for_each_run(int64_t begin, int64_t end, Run&& run) const {
    const bool each = d_ > 1;
    const int64_t width = each ? d_ : r_;
    int64_t row = begin < end ? begin / width : 0, within = begin < end ? begin % width : 0;
    for (int64_t x = begin, size = 0; x < end; x += size) {
      const int64_t first = b_ == 1 ? 0 : each ? row / r_ % b_ * d_ : row % b_;
      size = std::min({width - within, end - x, kLongestRun});
      run(x, size, each ? first + within : first, each);
      within += size;
      if (within == width) {
        within = 0;
        ++row;
      }
    }
  }

  // For sums over a coefficient's elements: the elements are cut into units, and each unit's elements have no
  // coefficient in common with another's if `disjoint` (so that threads may add to one array of sums).
  bool disjoint() const { return a_ == 1 && coefficients_ > 1; }
  int64_t units() const { return disjoint() ? (b_ > 1 ? b_ : d_) : count_; }

 private:
  // Finds A, B, R, D: axes in memory order, those of one element left out, equal neighbours joined.
  void fold(const Shape& shape, size_t begin, size_t end, bool channels_last) {
    std::array<int64_t, 4> size{1, 1, 1, 1};
    size_t place = 0;
    const auto append = [&](size_t axis) {
      if (shape[axis] == 1) return;
      const bool covered = axis >= begin && axis < end;
      if (covered != (place % 2 == 1)) ++place;
      size[place] *= shape[axis];
    };
    for (size_t axis = 0; axis < shape.size(); ++axis)
      if (!channels_last || axis != 1) append(axis);
    if (channels_last) append(1);
    std::tie(a_, b_, r_, d_) = std::tie(size[0], size[1], size[2], size[3]);
    if (r_ == 1 && d_ == 1) std::swap(b_, d_);  // coefficients lie side by side
    if (coefficients_ == 1) std::swap(a_, r_);  // a single coefficient: one long run
  }

  static constexpr int64_t kLongestRun = 1024;

  int64_t a_ = 1, b_ = 1, r_ = 1, d_ = 1;
  int64_t count_ = 0, coefficients_ = 1;
  int64_t channels_ = 1, spatial_ = 1;
};

}  // namespace caffe
