// Non-maximum suppression: of boxes that overlap, only the best stays. Boxes come with falling scores, and
// each is compared with those that stayed, by vectors of them.
#pragma once

#include <limits>
#include <vector>

#include "math/boxes.hpp"
#include "math/simd.hpp"

namespace caffe {

// The boxes that stayed, each coordinate by itself.
class KeptBoxes {
 public:
  explicit KeptBoxes(float last = 0) : last_(last) {}

  size_t size() const { return size_; }

  void clear() { size_ = 0; }

  void add(const Box& box) {
    const size_t lane = size_ % kLanes;
    if (lane == 0) begin_group(size_ / kLanes);
    Group& group = groups_[size_++ / kLanes];
    group.xmin[lane] = box.xmin;
    group.ymin[lane] = box.ymin;
    group.xmax[lane] = box.xmax;
    group.ymax[lane] = box.ymax;
    group.area[lane] = box.area(last_);
  }

  // Whether the overlap with one of them is not at most `most`.
  bool overlap_more(const Box& box, float most) const {
    const float area = box.area(last_);
    for (size_t group = 0; group * kLanes < size_; ++group)
      if (any(compare(groups_[group], box, area, most))) return true;
    return false;
  }

 private:
  struct Group {
    Floats xmin, ymin, xmax, ymax, area;
  };

  // Its lanes overlap nothing until boxes take them.
  void begin_group(size_t number) {
    constexpr float kFar = std::numeric_limits<float>::infinity();
    if (number == groups_.size()) groups_.emplace_back();
    groups_[number] = {broadcast(kFar), broadcast(kFar), broadcast(-kFar), broadcast(-kFar), Floats{}};
  }

  // Lanes where math/boxes.hpp's overlap() is above `most`, or NaN.
  Ints compare(const Group& kept, const Box& box, float area, float most) const {
    const Floats xmin = kept.xmin > box.xmin ? kept.xmin : broadcast(box.xmin);
    const Floats ymin = kept.ymin > box.ymin ? kept.ymin : broadcast(box.ymin);
    const Floats xmax = kept.xmax < box.xmax ? kept.xmax : broadcast(box.xmax);
    const Floats ymax = kept.ymax < box.ymax ? kept.ymax : broadcast(box.ymax);
    const Floats width = xmax - xmin + last_, height = ymax - ymin + last_;
    const Floats both = width * height;
    const Floats share = both / (kept.area + area - both);
    return (width > 0.0f) & (height > 0.0f) & ~(share <= most);
  }

  const float last_;
  size_t size_ = 0;
  std::vector<Group> groups_;
};

}  // namespace caffe
