// Which places of a map the cells of a box cover, as Fast R-CNN counts them. On both devices.
//
// A box is [index of its map, x1, y1, x2, y2]. Its corners are scaled to the map and rounded, both ends are
// part of it, and it is at least one place wide. Cells begin and end between places, and take every place
// they touch: neighbours may share one. A box with a coordinate that is no number covers nothing.
#pragma once

#include <cmath>

#include "math/indices.hpp"

namespace caffe {

constexpr int kBoxValues = 5;

struct PlaceRange {
  int begin, end;

  CAFFE_HOST_DEVICE bool empty() const { return end <= begin; }
  CAFFE_HOST_DEVICE bool contains(int place) const { return place >= begin && place < end; }
};

// One side of a box, cut into cells.
struct BoxSide {
  int start;   // the first place, which may lie outside of the map
  float cell;  // length of a cell

  // The places of cell `number` on a map of `size` places.
  CAFFE_HOST_DEVICE PlaceRange places(int number, int size) const {
    const int begin = start + static_cast<int>(floorf(static_cast<float>(number) * cell));
    const int end = start + static_cast<int>(ceilf(static_cast<float>(number + 1) * cell));
    return {clip(begin, size), clip(end, size)};
  }

  // Numbers of all cells that may have `place`, of `cells`: those at the ends may miss it.
  CAFFE_HOST_DEVICE PlaceRange cells_near(int place, int cells) const {
    const auto offset = static_cast<float>(int64_t{place} - start);
    return {clip(floorf(offset / cell) - 1, cells), clip(ceilf((offset + 1) / cell) + 1, cells)};
  }

 private:
  template <class Number>
  CAFFE_HOST_DEVICE static int clip(Number number, int most) {
    return number < 0 ? 0 : number > static_cast<Number>(most) ? most : static_cast<int>(number);
  }
};

struct BoxRule {
  int cells_h = 1, cells_w = 1;
  float scale = 1;      // places of the map a unit of the coordinates
  float pad_ratio = 0;  // how much wider the box is made on every side, in its own size

  bool operator==(const BoxRule&) const = default;
};

struct BoxCells {
  int map;  // -1: there is no such map
  BoxSide h, w;
};

namespace detail {

// Beyond every map, and far enough from the ends of an int to count from there.
constexpr float kFarAway = 268435456.0f;

CAFFE_HOST_DEVICE inline int round_corner(float corner) {
  const float place = roundf(corner);  // halves away from zero
  return static_cast<int>(place < -kFarAway ? -kFarAway : place > kFarAway ? kFarAway : place);
}

CAFFE_HOST_DEVICE inline BoxSide box_side(float low, float high, int cells, const BoxRule& rule) {
  const float pad = rule.pad_ratio == 0 ? 0.0f : (high - low + 1) * rule.pad_ratio;
  const float first = (low - pad) * rule.scale, last = (high + pad) * rule.scale;
  if (first != first || last != last)
    return {static_cast<int>(kFarAway), 1.0f / static_cast<float>(cells)};  // NaN
  const int start = round_corner(first), length = round_corner(last) - start + 1;
  return {start, static_cast<float>(length > 1 ? length : 1) / static_cast<float>(cells)};
}

}  // namespace detail

// box: (kBoxValues)
CAFFE_HOST_DEVICE inline BoxCells box_cells(const float* box, int64_t maps, const BoxRule& rule) {
  return {static_cast<int>(index_of(box[0], maps)), detail::box_side(box[2], box[4], rule.cells_h, rule),
          detail::box_side(box[1], box[3], rule.cells_w, rule)};
}

}  // namespace caffe
