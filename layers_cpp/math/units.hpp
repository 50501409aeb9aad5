// The loop over the units of a recurrent layer at one step.
#pragma once

#include <algorithm>

#include "core/parallel.hpp"

namespace caffe {

// Calls body(n, begin, end) for pieces of the rows of `items` items of `units` units.
template <class Body>
void for_each_unit(int64_t items, int64_t units, Body&& body) {
  constexpr int64_t kGrain = kElementwiseGrain / 16;  // a unit costs five exponentials
  parallel_for(items * units, kGrain, [=, &body](int64_t begin, int64_t end, int) {
    for (int64_t n = begin / units; n * units < end; ++n)
      body(n, std::max(begin - n * units, int64_t{0}), std::min(end - n * units, units));
  });
}

}  // namespace caffe
