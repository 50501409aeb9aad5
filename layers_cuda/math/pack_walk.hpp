// The walk of a kernel over arrays of one length: 16 bytes a thread and array; what is left at the end, or
// all if an array is not aligned, element by element.
#pragma once

#include <type_traits>

#include "core/launch.hpp"
#include "core/pack.hpp"

namespace caffe::cuda {

struct PackWalk {
  int64_t count, packs;  // elements, and how many whole packs of them to take first
};

template <class T>
PackWalk pack_walk(int64_t count, bool packable) {
  return {count, packable ? count / Pack<T>::count : 0};
}

template <class T>
Grid grid_for(const PackWalk& walk) {
  return grid_for(walk.packs + (walk.count - walk.packs * Pack<T>::count));
}

// Calls body(begin, size) for the `size` elements of this thread; size is a constant, and 0 threads too many
// are sent home.
template <class T, class Body>
__device__ inline void for_own_pack(const PackWalk& walk, Body&& body) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < walk.packs) {
    body(i * Pack<T>::count, std::integral_constant<int, Pack<T>::count>());
  } else {
    const int64_t rest = walk.packs * Pack<T>::count + (i - walk.packs);
    if (rest < walk.count) body(rest, std::integral_constant<int, 1>());
  }
}

}  // namespace caffe::cuda
