// Two kernels: blocks of threads sum some rows of some columns each, then the parts of a column are summed. A
// thread reads 16 bytes of a row at once, and several rows before it needs the first.
#include <algorithm>

#include "core/launch.hpp"
#include "core/pack.hpp"
#include "core/scratch.hpp"
#include "math/column_sums.hpp"

namespace caffe::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kMostAcross = 32;    // threads along a row: a warp reads 512 bytes of it
constexpr int kRowsInFlight = 4;   // of a thread
constexpr int64_t kBlocks = 1024;  // about 8 for each multiprocessor

// Sums the threads of a column, whose number in the block is (threadIdx.y), in order.
template <int kCount>
__device__ void store_block_sums(const float (&sum)[kCount], unsigned columns, float* parts) {
  __shared__ float shared[kThreads * kCount];
  const unsigned width = blockDim.x * kCount;
#pragma unroll
  for (int k = 0; k < kCount; ++k) shared[threadIdx.y * width + threadIdx.x * kCount + k] = sum[k];
  __syncthreads();
  for (unsigned n = threadIdx.y * blockDim.x + threadIdx.x; n < width; n += kThreads) {
    const unsigned column = blockIdx.x * width + n;
    if (column >= columns) return;
    float total = 0;
    for (unsigned row = 0; row < blockDim.y; ++row) total += shared[row * width + n];
    parts[static_cast<int64_t>(blockIdx.y) * columns + column] = total;
  }
}

// y, values: (rows, columns), parts: (gridDim.y, columns). Block (i, j) sums columns of tile i over the
// rows_a_part rows of part j. kMasked: values become 0 where y <= 0; otherwise y is not read.
template <bool kMasked, int kCount, class T>
__global__ void column_sums_kernel(const T* y, T* values, int64_t rows, unsigned columns, int64_t rows_a_part,
                                   float* parts) {
  const unsigned column = (blockIdx.x * blockDim.x + threadIdx.x) * kCount;
  const int64_t begin = static_cast<int64_t>(blockIdx.y) * rows_a_part;
  const int64_t end = column < columns ? min(begin + rows_a_part, rows) : begin;
  const int64_t step = static_cast<int64_t>(blockDim.y) * columns;
  float sum[kCount] = {};
  for (int64_t row = begin + threadIdx.y; row < end; row += kRowsInFlight * blockDim.y) {
    const int64_t first = row * columns + column;
    Pack<T, kCount> read[kRowsInFlight] = {}, sign[kRowsInFlight] = {};  // rows beyond the end are zeros
#pragma unroll
    for (int r = 0; r < kRowsInFlight; ++r) {
      if (row + r * blockDim.y >= end) continue;
      read[r] = load_pack<T, kCount>(values + first + r * step);
      if constexpr (kMasked) sign[r] = load_pack<T, kCount>(y + first + r * step);
    }
#pragma unroll
    for (int r = 0; r < kRowsInFlight; ++r) {
#pragma unroll
      for (int k = 0; k < kCount; ++k) {
        if constexpr (kMasked)
          if (!(static_cast<float>(sign[r].at[k]) > 0)) read[r].at[k] = 0.0f;
        sum[k] += static_cast<float>(read[r].at[k]);
      }
      if constexpr (kMasked)
        if (row + r * blockDim.y < end) store_pack(values + first + r * step, read[r]);
    }
  }
  store_block_sums(sum, columns, parts);
}

// parts: (count, columns), sums: (columns). The threads of a column, threadIdx.y, take every blockDim.y-th
// part.
__global__ void column_sums_join_kernel(const float* parts, unsigned count, unsigned columns, float* sums,
                                        bool accumulate) {
  __shared__ float shared[kThreads];
  const unsigned column = blockIdx.x * blockDim.x + threadIdx.x;
  float sum = 0;
  if (column < columns)
    for (unsigned part = threadIdx.y; part < count; part += blockDim.y)
      sum += parts[static_cast<int64_t>(part) * columns + column];
  shared[threadIdx.y * blockDim.x + threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || column >= columns) return;
  float total = 0;
  for (unsigned row = 0; row < blockDim.y; ++row) total += shared[row * blockDim.x + threadIdx.x];
  sums[column] = accumulate ? sums[column] + total : total;
}

// How a block covers a matrix: a power of two threads along a row, the others along its columns.
dim3 block_for(int64_t columns, int64_t values_a_load) {
  unsigned across = 1;
  while (across < kMostAcross && across * values_a_load < columns) across *= 2;
  return dim3(across, kThreads / across);
}

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace

ColumnSums::ColumnSums(int64_t rows, int64_t columns, DType dtype)
    : rows_(rows), columns_(columns), dtype_(dtype) {
  const dim3 block = block_for(columns, 16 / size_of(dtype));
  const int64_t tiles = divide_up(columns, block.x * (16 / size_of(dtype)));
  const int64_t most = divide_up(rows, block.y * kRowsInFlight);
  parts_ = static_cast<int>(std::clamp<int64_t>(kBlocks / std::max<int64_t>(1, tiles), 1, most));
}

size_t ColumnSums::scratch_bytes() const { return scratch_size(parts_ * columns_ * sizeof(float)); }

void ColumnSums::run(const Context& context, size_t used, const void* values, float* sums,
                     bool accumulate) const {
  run(context, used, nullptr, const_cast<void*>(values), sums, accumulate);
}

void ColumnSums::mask_and_run(const Context& context, size_t used, const void* y, void* dy, float* sums,
                              bool accumulate) const {
  run(context, used, y, dy, sums, accumulate);
}

void ColumnSums::run(const Context& context, size_t used, const void* y, void* values, float* sums,
                     bool accumulate) const {
  Scratch scratch(context, used);
  auto* parts = scratch.take<float>(scratch_bytes());
  dispatch(dtype_, [&](auto zero) {
    using T = decltype(zero);
    sum_parts(context, static_cast<const T*>(y), static_cast<T*>(values), parts);
  });
  constexpr unsigned kAcross = 32;
  const Grid grid{dim3(static_cast<unsigned>(divide_up(columns_, kAcross))),
                  dim3(kAcross, kThreads / kAcross)};
  launch(context, "column_sums_join", grid, column_sums_join_kernel, parts, parts_, columns_, sums,
         accumulate);
}

template <class T>
void ColumnSums::sum_parts(const Context& context, const T* y, T* values, float* parts) const {
  constexpr int kPack = 16 / sizeof(T);
  const bool packs = columns_ % kPack == 0 && packable(y, values);
  const dim3 block = block_for(columns_, packs ? kPack : 1);
  const auto tiles = static_cast<unsigned>(divide_up(columns_, block.x * (packs ? kPack : 1)));
  const Grid grid{dim3(tiles, static_cast<unsigned>(parts_)), block};
  const auto kernel = packs ? (y ? column_sums_kernel<true, kPack, T> : column_sums_kernel<false, kPack, T>)
                            : (y ? column_sums_kernel<true, 1, T> : column_sums_kernel<false, 1, T>);
  launch(context, "column_sums", grid, kernel, y, values, rows_, columns_, divide_up(rows_, parts_), parts);
}

}  // namespace caffe::cuda
