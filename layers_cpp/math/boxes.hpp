// Boxes given by two corners, their overlap, and what the offsets that a detector learns do to a box.
//
// `last` is 1 where a corner names the last pixel of a box, which so is one wider than the difference (Faster
// R-CNN), and 0 where corners are edges (SSD). On both devices.
#pragma once

#include <cmath>

#include "core/dtype.hpp"

namespace caffe {

struct Box {
  float xmin, ymin, xmax, ymax;

  CAFFE_HOST_DEVICE float width(float last = 0) const { return xmax - xmin + last; }
  CAFFE_HOST_DEVICE float height(float last = 0) const { return ymax - ymin + last; }
  // 0 for a box whose corners are the wrong way round.
  CAFFE_HOST_DEVICE float area(float last = 0) const {
    return xmax < xmin || ymax < ymin ? 0.0f : width(last) * height(last);
  }
};

// Area of the intersection, by that of the union (Jaccard, IoU); 0 for boxes that do not overlap.
CAFFE_HOST_DEVICE inline float overlap(const Box& a, const Box& b, float last = 0) {
  const Box common = {a.xmin > b.xmin ? a.xmin : b.xmin, a.ymin > b.ymin ? a.ymin : b.ymin,
                      a.xmax < b.xmax ? a.xmax : b.xmax, a.ymax < b.ymax ? a.ymax : b.ymax};
  const float width = common.width(last), height = common.height(last);
  if (!(width > 0 && height > 0)) return 0.0f;
  const float both = width * height;
  return both / (a.area(last) + b.area(last) - both);
}

// How four numbers move a box, SSD's names: its corners by themselves or by its size; or its centre by its
// size, and its size by a factor e^x.
enum class BoxCode { corner, corner_size, center_size };

// The box that `code` makes of `prior`; the numbers are multiplied by `variance` first. code, variance: (4)
CAFFE_HOST_DEVICE inline Box decode(BoxCode kind, const Box& prior, const float* variance,
                                    const float* code) {
  const float moves[4] = {variance[0] * code[0], variance[1] * code[1], variance[2] * code[2],
                          variance[3] * code[3]};
  const float width = prior.width(), height = prior.height();
  if (kind == BoxCode::corner)
    return {prior.xmin + moves[0], prior.ymin + moves[1], prior.xmax + moves[2], prior.ymax + moves[3]};
  if (kind == BoxCode::corner_size)
    return {prior.xmin + moves[0] * width, prior.ymin + moves[1] * height, prior.xmax + moves[2] * width,
            prior.ymax + moves[3] * height};
  const float x = moves[0] * width + (prior.xmin + prior.xmax) / 2;
  const float y = moves[1] * height + (prior.ymin + prior.ymax) / 2;
  const float half_width = expf(moves[2]) * width / 2, half_height = expf(moves[3]) * height / 2;
  return {x - half_width, y - half_height, x + half_width, y + half_height};
}

}  // namespace caffe
