// Where a thread of an LSTM's kernels finds the gates of its unit.
#pragma once

#include <cuda_runtime.h>

#include "math/lstm_cell.hpp"

namespace caffe::cuda {

__device__ inline int64_t thread_number() {
  return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}

// Of unit i of N items of `units`, in arrays (N, 4, units).
struct LstmPlace {
  __device__ LstmPlace(int64_t i, int64_t units)
      : item(i / units), first(i + item * (kGates - 1) * units), units(units) {}

  __device__ LstmGates load(const float* gates) const {
    const float* own = gates + first;
    return {own[0], own[units], own[2 * units], own[3 * units]};
  }
  // From what the gates are made of.
  __device__ LstmGates opened(const float* made_of) const {
    const LstmGates a = load(made_of);
    return lstm_gates(a.i, a.f, a.o, a.g);
  }
  template <class T>
  __device__ void store(const LstmGates& gates, T* to) const {
    T* own = to + first;
    own[0] = gates.i;
    own[units] = gates.f;
    own[2 * units] = gates.o;
    own[3 * units] = gates.g;
  }

  int64_t item, first, units;
};

}  // namespace caffe::cuda
