// How kernels walk a blob that has one coefficient (a channel's mean, a scale) for each index along some of
// its axes. As in layers_cpp/math/broadcast.hpp the blob is, in the order of its memory,
//
//   x[a][b][r][d]   with the coefficient k = b * D + d   (a < A, b < B, r < R, d < D)
//
// which is cut into B groups, each a matrix of rows by columns. Where D > 1 a row is d, and a column has a
// coefficient of its own: channels-last, D = C. Where D = 1 a row is r, and the whole group has one
// coefficient: plain, B = C. A block takes a tile of columns and, of the rows, every so many a chunk. A
// thread stays in one column, whose coefficients it keeps in registers, and has several rows in flight. A
// column is 16 bytes wide if D or R can be cut so, else one value.
#pragma once

#include <algorithm>

#include "core/division.hpp"
#include "core/launch.hpp"
#include "core/pack.hpp"

namespace caffe::cuda {

constexpr int kColumnThreads = 256;
constexpr int kMultiprocessors = 132;  // of an H200; fixed, so that sums have the same bits everywhere

struct Spread {
  int64_t a, b, r, d;

  bool each() const { return d > 1; }  // whether the values of a row have coefficients of their own
  int64_t coefficients() const { return b * d; }
  int64_t count() const { return a * b * r * d; }
  int64_t row() const { return each() ? d : r; }
  int64_t rows() const { return each() ? a * r : a; }  // of a group
};

// A blob has less than 2^31 values, so 32 bits do for all places in it.
struct Columns {
  uint32_t rows;      // of a group
  Divisor near_rows;  // of them, those that follow one another in memory
  int groups;         // B
  int width;          // columns
  int coefficients;   // B * D
  bool each;
  int tiles, ranges;     // blocks along a row, and along the rows
  int columns, threads;  // threads of a block along its tile, and along the rows

  int64_t blocks() const { return int64_t{tiles} * groups * ranges; }
  dim3 block() const { return dim3(static_cast<unsigned>(columns), static_cast<unsigned>(threads)); }
  int block_threads() const { return columns * threads; }
  // Partial sums of each coefficient.
  int64_t pieces() const { return each ? ranges : int64_t{ranges} * tiles; }
};

// At least `blocks` blocks if there is work for them; a thread gets at most `most_rows` rows, of which
// `in_flight` at once.
inline Columns make_columns(const Spread& spread, int values, int64_t in_flight, int64_t blocks,
                            int64_t most_rows) {
  const auto whole = [](int64_t a, int64_t b) { return (a + b - 1) / b; };
  Columns made{};
  if (spread.count() == 0) return made;
  const int64_t rows = spread.rows(), width = spread.row() / values;
  const int64_t widest = rows < 8 ? kColumnThreads : 32;
  const int64_t tiles = whole(width, widest), columns = whole(width, tiles);
  const int64_t threads = std::min<int64_t>(kColumnThreads / columns, rows);
  const int64_t chunks = whole(rows, in_flight * threads);
  const int64_t wanted = std::max(blocks / (tiles * spread.b), whole(chunks * in_flight, most_rows));
  made.rows = static_cast<uint32_t>(rows);
  made.near_rows = Divisor(static_cast<uint32_t>(spread.b == 1 ? rows : spread.each() ? spread.r : 1));
  made.groups = static_cast<int>(spread.b);
  made.width = static_cast<int>(width);
  made.coefficients = static_cast<int>(spread.coefficients());
  made.each = spread.each();
  made.tiles = static_cast<int>(tiles);
  made.ranges = static_cast<int>(std::clamp<int64_t>(wanted, 1, chunks));
  made.columns = static_cast<int>(columns);
  made.threads = static_cast<int>(threads);
  return made;
}

inline Grid grid_of(const Columns& columns, size_t shared_bytes = 0) {
  Grid grid = grid_for(columns.blocks(), 1);
  grid.threads = columns.block();
  grid.shared_bytes = shared_bytes;
  return grid;
}

// Whether the rows can be cut into packs of `values` at these addresses.
template <class T, size_t kCount>
bool in_packs(const Spread& spread, int values, const T* const (&arrays)[kCount]) {
  bool aligned = spread.row() % values == 0;
  for (const T* array : arrays) aligned &= packable(array);
  return aligned;
}

// The part of a thread in the walk.
struct ColumnPlace {
  __device__ explicit ColumnPlace(const Columns& walk) {
    const int block = static_cast<int>(blockIdx.x);
    tile = block % walk.tiles;
    range = block / walk.tiles % walk.ranges;
    group = block / walk.tiles / walk.ranges;
    column = tile * walk.columns + static_cast<int>(threadIdx.x);
    inside = column < walk.width;
  }

  // Where the thread's column of a row begins, in columns.
  __device__ uint32_t offset(const Columns& walk, uint32_t row) const {
    const uint32_t before = walk.near_rows.quotient(row) * (walk.groups - 1) + group;  // of other groups
    return (row + before * walk.near_rows.value()) * walk.width + column;
  }

  // The coefficient of value `i` of the thread's column.
  template <int kCount>
  __device__ int coefficient(const Columns& walk, int i) const {
    return walk.each ? group * walk.width * kCount + column * kCount + i : group;
  }

  int tile, range, group, column;
  bool inside;
};

// Values of a few arrays at the same place.
template <class T, int kCount, int kArrays>
struct ColumnValues {
  __device__ void load(const T* const (&from)[kArrays], uint32_t column) {
#pragma unroll
    for (int array = 0; array < kArrays; ++array)
      packs[array] = load_pack<T, kCount>(from[array] + int64_t{column} * kCount);
  }
  __device__ void store(T* const (&to)[kArrays], uint32_t column) const {
#pragma unroll
    for (int array = 0; array < kArrays; ++array)
      store_pack<T, kCount>(to[array] + int64_t{column} * kCount, packs[array]);
  }
  // The values of all arrays at place i of the column.
  __device__ void get(int i, float (&values)[kArrays]) const {
#pragma unroll
    for (int array = 0; array < kArrays; ++array) values[array] = packs[array].at[i];
  }
  __device__ void set(int i, const float (&values)[kArrays]) {
#pragma unroll
    for (int array = 0; array < kArrays; ++array) packs[array].at[i] = values[array];
  }

  Pack<T, kCount> packs[kArrays];
};

}  // namespace caffe::cuda
