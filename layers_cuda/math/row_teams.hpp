// Kernels over the rows of math/rows.hpp (the vectors along one axis of a blob): a team of threads for each.
//
// Contiguous rows have a warp each, long ones a block, so that the threads of a team read side by side. Rows
// with a step, which lie side by side themselves, have one thread each.
#pragma once

#include <cmath>

#include "core/launch.hpp"
#include "core/reduce.hpp"
#include "math/rows.hpp"

namespace caffe::cuda {

// Where row r of a blob begins. In both layouts, rows are numbered by four axes at most.
class RowPlaces {
 public:
  static constexpr int kMostAxes = 4;

  explicit RowPlaces(const Rows& rows)
      : count(static_cast<int>(rows.count)), length(static_cast<int>(rows.length)), step(rows.step) {
    const size_t axes = rows.dims().size();
    if (axes > kMostAxes) throw std::logic_error("rows are numbered by more axes than a kernel takes");
    for (size_t i = 0; i < axes; ++i) {  // the last ones last
      dims_[kMostAxes - axes + i] = static_cast<int>(rows.dims()[i]);
      strides_[kMostAxes - axes + i] = rows.strides()[i];
    }
  }

  __device__ int64_t offset(int row) const {
    int64_t sum = 0;
#pragma unroll
    for (int axis = kMostAxes - 1; axis > 0; --axis) {
      sum += row % dims_[axis] * strides_[axis];
      row /= dims_[axis];
    }
    return sum + row * strides_[0];
  }

  int count, length;
  int64_t step;  // from one value of a row to the next

 private:
  int dims_[kMostAxes] = {1, 1, 1, 1};
  int64_t strides_[kMostAxes] = {0, 0, 0, 0};
};

// Threads of a block: (team, teams).
inline Grid row_teams(const Rows& rows) {
  constexpr int kThreads = 256, kLongest = 4096;  // of a row that one warp takes
  const int team = !rows.contiguous() ? 1 : rows.length > kLongest ? kThreads : kWarp;
  Grid grid = grid_for(rows.count, kThreads / team);
  grid.threads = dim3(static_cast<unsigned>(team), static_cast<unsigned>(kThreads / team));
  grid.shared_bytes = kThreads / kWarp * sizeof(float);
  return grid;
}

// In the kernel: the row of the calling thread's team, which may lie past the last one.
__device__ inline int team_row() { return static_cast<int>(blockIdx.x * blockDim.y + threadIdx.y); }

// Calls body(i, x[i]) for every i < length that is the thread's, several of which are read at once; and, to
// fill up the last of them, for some i beyond, where the value is -infinity. x: (length), `step` apart.
template <class T, class Body>
__device__ inline void for_own_values(const T* x, int length, int64_t step, Body&& body) {
  constexpr int kInFlight = 8;
  const int64_t team = blockDim.x;
  for (int64_t first = threadIdx.x; first < length; first += kInFlight * team) {
    float values[kInFlight];
#pragma unroll
    for (int n = 0; n < kInFlight; ++n)
      values[n] = first + n * team < length ? static_cast<float>(x[(first + n * team) * step]) : -INFINITY;
#pragma unroll
    for (int n = 0; n < kInFlight; ++n) body(first + n * team, values[n]);
  }
}

// All threads of the team get the result. Has room for one float a warp in shared memory.
template <class Combine>
__device__ inline float team_reduce(float value, Combine combine) {
  if (blockDim.x == 1) return value;
  for (int offset = kWarp / 2; offset > 0; offset /= 2)
    value = combine(value, __shfl_xor_sync(kAllLanes, value, offset));
  if (blockDim.x == kWarp) return value;

  float* shared = dynamic_shared<float>();
  const int warps = blockDim.x / kWarp;
  if (threadIdx.x % kWarp == 0) shared[threadIdx.x / kWarp] = value;
  __syncthreads();
  value = shared[0];
  for (int warp = 1; warp < warps; ++warp) value = combine(value, shared[warp]);
  __syncthreads();
  return value;
}

__device__ inline float team_sum(float value) {
  return team_reduce(value, [](float a, float b) { return a + b; });
}
__device__ inline float team_max(float value) {
  return team_reduce(value, [](float a, float b) { return fmaxf(a, b); });
}

}  // namespace caffe::cuda
