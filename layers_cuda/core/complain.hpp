// How a kernel says that it has found something wrong.
#pragma once

#include "core/launch.hpp"

namespace caffe::cuda {

// Where a step's kernels write it.
struct Desk {
  explicit Desk(const Context& context) : complaint(context.complaint), step(context.step) {}

  // The first complaint stays; Layer::explain says what code, place, limit and value mean.
  __device__ void complain(int code, int64_t place, int64_t limit, float value) const {
    if (atomicCAS(&complaint->code, 0, code) != 0) return;
    complaint->step = step;
    complaint->place = place;
    complaint->limit = limit;
    complaint->value = value;
  }

  Complaint* complaint;
  int step;
};

}  // namespace caffe::cuda
