// Kernels whose threads work together, for the tests of the emulator in tests/cuda.
#include "device.hpp"

namespace caffe::cuda::test {
namespace {

__device__ float warp_sum(float value) {
  for (int distance = 16; distance > 0; distance /= 2)
    value += __shfl_down_sync(0xffffffffu, value, distance);
  return value;
}

// x: (n). sum: (1). The size of the block is a multiple of 32.
__global__ void sum_kernel(const float* x, int64_t n, float* sum) {
  __shared__ float warps[32];
  float value = 0;
  for (int64_t i = blockIdx.x * int64_t(blockDim.x) + threadIdx.x; i < n;
       i += int64_t(gridDim.x) * blockDim.x)
    value += x[i];
  value = warp_sum(value);
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = value;
  __syncthreads();
  if (threadIdx.x >= 32) return;
  value = warp_sum(threadIdx.x < blockDim.x / 32 ? warps[threadIdx.x] : 0.0f);
  if (threadIdx.x == 0) atomicAdd(sum, value);
}

// y: (8, 32): what each of 32 lanes gets.
__global__ void shuffle_kernel(double* y) {
  const unsigned all = 0xffffffffu;
  const int lane = static_cast<int>(threadIdx.x);
  y[0 * 32 + lane] = __shfl_sync(all, lane * 0.5, lane / 4);
  y[1 * 32 + lane] = __shfl_sync(all, lane, 3, 8);
  y[2 * 32 + lane] = __shfl_up_sync(all, float(lane), 3, 16);
  y[3 * 32 + lane] = static_cast<double>(__shfl_down_sync(all, int64_t(lane), 5));
  y[4 * 32 + lane] = __shfl_xor_sync(all, static_cast<short>(lane), 9);
  y[5 * 32 + lane] = __ballot_sync(all, lane % 3 == 0);
  y[6 * 32 + lane] = __any_sync(all, lane == 7) * 2 + __all_sync(all, lane == 7);
  // Halves of a warp on their own, one of them twice.
  y[7 * 32 + lane] = lane < 16 ? __shfl_sync(0xffffu, lane, 1) : __shfl_sync(0xffff0000u, lane, 17);
  if (lane < 16) y[7 * 32 + lane] += __shfl_xor_sync(0xffffu, lane, 1);
}

// x: (n) in [0, bins). counts: (bins).
__global__ void count_kernel(const int* x, int64_t n, int* counts) {
  const int64_t i = blockIdx.x * int64_t(blockDim.x) + threadIdx.x;
  if (i < n) atomicAdd(&counts[x[i]], 1);
}

// x: (blocks, threads), each row of which is turned around. `synchronised` false leaves the barrier out.
__global__ void reverse_kernel(float* x, bool synchronised) {
  float* row = dynamic_shared<float>();
  x += int64_t(blockIdx.x) * blockDim.x;
  row[threadIdx.x] = x[threadIdx.x];
  if (synchronised) __syncthreads();
  x[threadIdx.x] = row[blockDim.x - 1 - threadIdx.x];
}

// y: (z, y, x): the linear index of each thread.
__global__ void position_kernel(int64_t* y) {
  const int64_t x_index = blockIdx.x * int64_t(blockDim.x) + threadIdx.x, width = gridDim.x * blockDim.x;
  const int64_t y_index = blockIdx.y * int64_t(blockDim.y) + threadIdx.y, height = gridDim.y * blockDim.y;
  const int64_t z_index = blockIdx.z * int64_t(blockDim.z) + threadIdx.z;
  const int64_t i = (z_index * height + y_index) * width + x_index;
  y[i] = i;
}

// Mistakes.

__global__ void early_end_kernel() {
  if (threadIdx.x < 3) return;
  __syncthreads();
}

__global__ void divergent_kernel() {
  if (threadIdx.x < 3)
    __syncthreads();
  else
    __syncthreads();
}

__global__ void absent_lane_kernel() {
  if (threadIdx.x % 32 != 5) __shfl_xor_sync(0xffffffffu, 1, 1);
}

__global__ void different_masks_kernel() {
  __syncwarp(threadIdx.x == 0 ? 0xffffffffu : 0x7fffffffu | 1u << threadIdx.x);
}

__global__ void out_of_bounds_kernel(float* x, int64_t n) {
  const int64_t i = blockIdx.x * int64_t(blockDim.x) + threadIdx.x;
  if (i <= n) x[i] = 0;
}

__global__ void shared_out_of_bounds_kernel(float* x) {
  dynamic_shared<float>()[threadIdx.x + 1] = 0;
  __syncthreads();
  x[threadIdx.x] = dynamic_shared<float>()[threadIdx.x];
}

}  // namespace

EXPORT const char* test_sum(const float* x, int64_t n, int blocks, int threads, float* sum) {
  return run([&] {
    const Stream stream;
    const Array<float> source(n, x), result(1);
    check(cudaMemsetAsync(result.data, 0, sizeof(float), stream.handle));
    launch(stream.context(), "sum", {dim3(blocks), dim3(threads)}, sum_kernel, source.data, n, result.data);
    result.download(sum, stream);
  });
}

EXPORT const char* test_shuffles(double* y) {
  return run([&] {
    const Stream stream;
    const Array<double> result(8 * 32);
    launch(stream.context(), "shuffle", {1, 32}, shuffle_kernel, result.data);
    result.download(y, stream);
  });
}

EXPORT const char* test_counts(const int* x, int64_t n, int* counts, int64_t bins) {
  return run([&] {
    const Stream stream;
    const Array<int> source(n, x), result(bins);
    check(cudaMemsetAsync(result.data, 0, result.bytes, stream.handle));
    launch(stream.context(), "count", grid_for(n), count_kernel, source.data, n, result.data);
    result.download(counts, stream);
  });
}

EXPORT const char* test_reverse(float* x, int blocks, int threads, bool synchronised) {
  return run([&] {
    const Stream stream;
    const Array<float> rows(int64_t(blocks) * threads, x);
    const size_t shared_bytes = static_cast<size_t>(threads) * sizeof(float);
    launch(stream.context(), "reverse", {dim3(blocks), dim3(threads), shared_bytes}, reverse_kernel,
           rows.data, synchronised);
    rows.download(x, stream);
  });
}

EXPORT const char* test_positions(const unsigned* blocks, const unsigned* threads, int64_t* y, int64_t n) {
  return run([&] {
    const Stream stream;
    const Array<int64_t> result(n);
    launch(stream.context(), "position",
           {dim3(blocks[0], blocks[1], blocks[2]), dim3(threads[0], threads[1], threads[2])}, position_kernel,
           result.data);
    result.download(y, stream);
  });
}

// After the mistake, a sound kernel on the same fibers.
EXPORT const char* test_mistake(int number) {
  constexpr int64_t kSize = 64;
  return run([&] {
    const Stream stream;
    const Array<float> x(kSize);
    switch (number) {
      case 0:
        launch(stream.context(), "early_end", {2, 64}, early_end_kernel);
        break;
      case 1:
        launch(stream.context(), "divergent", {2, 64}, divergent_kernel);
        break;
      case 2:
        launch(stream.context(), "absent_lane", {2, 64}, absent_lane_kernel);
        break;
      case 3:
        launch(stream.context(), "different_masks", {2, 32}, different_masks_kernel);
        break;
      case 4:
        launch(stream.context(), "out_of_bounds", {1, 128}, out_of_bounds_kernel, x.data, kSize);
        break;
      case 5:
        launch(stream.context(), "shared_out_of_bounds", {1, 64, kSize * sizeof(float)},
               shared_out_of_bounds_kernel, x.data);
        break;
      case 6: {
        float host[kSize];
        launch(stream.context(), "array_of_the_host", {1, 64}, out_of_bounds_kernel, host, kSize);
        stream.wait();
        break;
      }
    }
    stream.wait();
  });
}

EXPORT const char* test_launch(int64_t blocks, int64_t threads, size_t shared_bytes) {
  return run([&] {
    const Stream stream;
    const Array<float> x(4096);
    const Grid grid{dim3(static_cast<unsigned>(blocks)), dim3(static_cast<unsigned>(threads)), shared_bytes};
    launch(stream.context(), "reverse", grid, reverse_kernel, x.data, true);
    stream.wait();
  });
}

EXPORT const char* test_grid(int64_t items, int threads, unsigned* blocks) {
  return run([&] { *blocks = grid_for(items, threads).blocks.x; });
}

}  // namespace caffe::cuda::test
