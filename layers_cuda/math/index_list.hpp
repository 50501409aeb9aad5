// Indices as kernels read them (layers_cpp/math/indices.hpp), and the places that hold one of them, in their
// order: gradients that add up there give the same bits in every run.
#pragma once

#include "core/complain.hpp"
#include "core/reduce.hpp"
#include "math/indices.hpp"

namespace caffe::cuda {

class IndexList {
 public:
  IndexList(const float* values, int64_t count, int64_t limit)
      : count(static_cast<int>(count)), values_(values), limit_(static_cast<int>(limit)) {}

  // The index at a place, or -1.
  __device__ int operator[](int place) const { return static_cast<int>(index_of(values_[place], limit_)); }

  // Complains of what is no index.
  __device__ void check(int place, const Desk& desk) const {
    if ((*this)[place] < 0) desk.complain(1, place, limit_, values_[place]);
  }

  // Whether no place before this one has the same index. To be called by whole warps, with the same place.
  __device__ bool first(int place) const {
    const int index = (*this)[place], lane = threadIdx.x % kWarp;
    for (int i = lane; i - lane < place; i += kWarp)
      if (__any_sync(kAllLanes, i < place && (*this)[i] == index)) return false;
    return true;
  }

  // Calls body(place) for the places from `begin` on that have the index, in their order. To be called by
  // whole warps, with the same arguments.
  template <class Body>
  __device__ void for_each_place(int index, int begin, Body&& body) const {
    const int lane = threadIdx.x % kWarp;
    for (int start = begin; start < count; start += kWarp) {
      const int place = start + lane;
      unsigned found = __ballot_sync(kAllLanes, place < count && (*this)[place] == index);
      for (; found != 0; found &= found - 1) body(start + __ffs(static_cast<int>(found)) - 1);
    }
  }

  int count;

 private:
  const float* values_;
  int limit_;
};

}  // namespace caffe::cuda
