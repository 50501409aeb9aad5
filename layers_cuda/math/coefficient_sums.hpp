// Sums of the values that belong to each coefficient; math/columns.hpp says how a blob is walked.
//
// Each value is read once. A thread adds up at most kMostTerms rows in float, a block its threads, always in
// the same tree, and a second kernel the blocks in double: exact enough for any batch, and the same bits in
// every run. Between the two, `partials` (pieces, sums, coefficients) pass through scratch.
#pragma once

#include "math/columns.hpp"

namespace caffe::cuda {

// What is added up is a Terms with
//   Value, kInputs, in[kInputs]   the arrays and their type
//   kSums                         how many sums there are
//   Channel channel(int k)        the coefficients k
//   void add(const Channel&, const float (&x)[kInputs], float (&sums)[kSums])
// and, to keep a value that was made on the way,
//   out[1], float stored(const Channel&, const float (&x)[kInputs])
// and what is done with the sums of coefficient k a Finish, called as finish(k, const double (&sums)[kSums]).

template <class Terms>
constexpr int kSumInFlight = Terms::kInputs * Terms::kSums > 2 ? 2 : 4;  // rows, as registers allow
constexpr int64_t kMostTerms = 256;

template <class Terms>
concept Stores = requires(Terms terms) { terms.out; };

constexpr int kSumBlocksEach = 3;  // on a multiprocessor, all at once, as registers allow

// Adds up shared[v][i], shared[v][i + stride], .. for every v and i < stride, into the first of them. To be
// called by all `threads` of the block.
template <int kValues, class T>
__device__ inline void fold(T* shared, int thread, int threads, int stride) {
  for (int left = threads / stride; left > 1;) {
    const int half = (left + 1) / 2;
    __syncthreads();
    if (thread < (left - half) * stride)
      for (int v = 0; v < kValues; ++v)
        shared[v * threads + thread] += shared[v * threads + thread + half * stride];
    left = half;
  }
  __syncthreads();
}

template <int kCount, class Terms>
__device__ inline void store_values(const Terms& terms, const typename Terms::Channel (&channels)[kCount],
                                    const ColumnValues<typename Terms::Value, kCount, Terms::kInputs>& in,
                                    uint32_t column) {
  ColumnValues<typename Terms::Value, kCount, 1> out;
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    float x[Terms::kInputs];
    in.get(i, x);
    out.set(i, {terms.stored(channels[i], x)});
  }
  out.store(terms.out, column);
}

// Adds `kRows` rows, from `first` on, one for each row of threads. All are on their way before the first is
// needed; none may lie past the end, where the compiler would fetch them one by one.
template <int kRows, int kCount, class Terms>
__device__ inline void add_rows(const Terms& terms, const Columns& walk, const ColumnPlace& place,
                                const typename Terms::Channel (&channels)[kCount], uint32_t first,
                                float (&sums)[kCount][Terms::kSums]) {
  ColumnValues<typename Terms::Value, kCount, Terms::kInputs> in[kRows];
#pragma unroll
  for (int n = 0; n < kRows; ++n) in[n].load(terms.in, place.offset(walk, first + n * blockDim.y));
#pragma unroll
  for (int n = 0; n < kRows; ++n) {
    if constexpr (Stores<Terms>)
      store_values<kCount>(terms, channels, in[n], place.offset(walk, first + n * blockDim.y));
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      float x[Terms::kInputs];
      in[n].get(i, x);
      terms.add(channels[i], x, sums[i]);
    }
  }
}

template <int kCount, class Terms>
__device__ inline void add_columns(const Terms& terms, const Columns& walk, const ColumnPlace& place,
                                   float (&sums)[kCount][Terms::kSums]) {
  constexpr int kInFlight = kSumInFlight<Terms>;
  typename Terms::Channel channels[kCount];
#pragma unroll
  for (int i = 0; i < kCount; ++i) channels[i] = terms.channel(place.coefficient<kCount>(walk, i));

  const uint32_t step = kInFlight * blockDim.y, last = step - blockDim.y;
  uint32_t first = place.range * step + threadIdx.y;
  for (; first + last < walk.rows; first += walk.ranges * step)
    add_rows<kInFlight>(terms, walk, place, channels, first, sums);
  for (; first < walk.rows; first += blockDim.y) add_rows<1>(terms, walk, place, channels, first, sums);
}

template <int kCount, class Terms>
__global__ void __launch_bounds__(kColumnThreads, kSumBlocksEach)
    coefficient_sums_kernel(Terms terms, Columns walk, float* partials) {
  // terms.in[i]: (a, b, r, d); partials: (pieces, kSums, coefficients)
  constexpr int kSums = Terms::kSums, kValues = kSums * kCount;
  const ColumnPlace place(walk);
  float sums[kCount][kSums] = {};
  if (place.inside) add_columns(terms, walk, place, sums);

  const int threads = walk.columns * walk.threads;
  const int thread = threadIdx.y * walk.columns + threadIdx.x;
  float* shared = dynamic_shared<float>();  // (kCount, kSums, threads)
#pragma unroll
  for (int v = 0; v < kValues; ++v) shared[v * threads + thread] = sums[v / kSums][v % kSums];
  fold<kValues>(shared, thread, threads, walk.each ? walk.columns : 1);

  const int piece = walk.each ? place.range : place.range * walk.tiles + place.tile;
  float* mine = partials + int64_t{piece} * kSums * walk.coefficients;
  if (walk.each) {
    if (threadIdx.y > 0 || !place.inside) return;
    for (int v = 0; v < kValues; ++v)
      mine[v % kSums * walk.coefficients + place.coefficient<kCount>(walk, v / kSums)] =
          shared[v * threads + thread];
    return;
  }
  for (int sum = thread; sum < kSums; sum += threads) {
    float total = 0;
    for (int i = 0; i < kCount; ++i) total += shared[(i * kSums + sum) * threads];
    mine[sum * walk.coefficients + place.group] = total;
  }
}

constexpr int kFinishCoefficients = 8, kFinishSlices = 64;  // of a block

template <int kSums, class Finish>
__global__ void finish_sums_kernel(Finish finish, const float* partials, int64_t pieces, int coefficients) {
  // partials: (pieces, kSums, coefficients)
  constexpr int kThreads = kFinishCoefficients * kFinishSlices;
  const int k = blockIdx.x * kFinishCoefficients + threadIdx.x;
  double* shared = dynamic_shared<double>();  // (kSums, slices, coefficients of the block)
  double sums[kSums] = {};
  if (k < coefficients) {
#pragma unroll 4
    for (int64_t piece = threadIdx.y; piece < pieces; piece += kFinishSlices)
#pragma unroll
      for (int sum = 0; sum < kSums; ++sum) sums[sum] += partials[(piece * kSums + sum) * coefficients + k];
  }
  const int thread = threadIdx.y * kFinishCoefficients + threadIdx.x;
#pragma unroll
  for (int sum = 0; sum < kSums; ++sum) shared[sum * kThreads + thread] = sums[sum];
  fold<kSums>(shared, thread, kThreads, kFinishCoefficients);
  if (threadIdx.y > 0 || k >= coefficients) return;
#pragma unroll
  for (int sum = 0; sum < kSums; ++sum) sums[sum] = shared[sum * kThreads + thread];
  finish(k, sums);
}

template <int kCount, class Terms>
Columns columns_for_sums(const Spread& spread) {
  return make_columns(spread, kCount, kSumInFlight<Terms>, kSumBlocksEach * kMultiprocessors, kMostTerms);
}

// Bytes of `partials`, wherever the arrays will lie.
template <class Terms>
size_t partials_bytes(const Spread& spread) {
  constexpr int kCount = 16 / sizeof(typename Terms::Value);
  const int64_t pieces =
      std::max(columns_for_sums<1, Terms>(spread).pieces(),
               spread.row() % kCount ? 0 : columns_for_sums<kCount, Terms>(spread).pieces());
  return static_cast<size_t>(pieces * Terms::kSums * spread.coefficients()) * sizeof(float);
}

template <int kCount, class Terms>
int64_t queue_partials(const Context& context, const char* name, const Spread& spread, const Terms& terms,
                       float* partials) {
  const Columns walk = columns_for_sums<kCount, Terms>(spread);
  const size_t shared = sizeof(float) * Terms::kSums * kCount * walk.block_threads();
  launch(context, name, grid_of(walk, shared), coefficient_sums_kernel<kCount, Terms>, terms, walk, partials);
  return walk.pieces();
}

// Queues finish(k, sums) for every coefficient k.
template <int kSums, class Finish>
void finish_sums(const Context& context, const char* name, const Finish& finish, const float* partials,
                 int64_t pieces, int64_t coefficients) {
  Grid grid = grid_for(coefficients, kFinishCoefficients);
  grid.threads = dim3(kFinishCoefficients, kFinishSlices);
  grid.shared_bytes = sizeof(double) * kSums * kFinishCoefficients * kFinishSlices;
  launch(context, name, grid, finish_sums_kernel<kSums, Finish>, finish, partials, pieces, coefficients);
}

// Queues the sums. Of no values they are 0. `name` is for error messages.
template <class Terms, class Finish>
void coefficient_sums(const Context& context, const char* name, const Spread& spread, const Terms& terms,
                      const Finish& finish, float* partials) {
  constexpr int kCount = 16 / sizeof(typename Terms::Value);
  bool packs = in_packs(spread, kCount, terms.in);
  if constexpr (Stores<Terms>) packs = packs && packable(terms.out[0]);
  const int64_t pieces = packs ? queue_partials<kCount>(context, name, spread, terms, partials)
                               : queue_partials<1>(context, name, spread, terms, partials);
  finish_sums<Terms::kSums>(context, name, finish, partials, pieces, spread.coefficients());
}

}  // namespace caffe::cuda
