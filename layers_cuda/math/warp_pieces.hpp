// A walk over a matrix where a warp takes 32 neighbouring columns of a row.
#pragma once

#include "core/launch.hpp"
#include "core/reduce.hpp"

namespace caffe::cuda {

constexpr int kPieceThreads = 128;

inline int64_t pieces_of(int64_t columns) { return (columns + kWarp - 1) / kWarp; }

inline Grid grid_of_pieces(int64_t rows, int64_t columns) {
  return grid_for(rows * pieces_of(columns) * kWarp, kPieceThreads);
}

// What belongs to a thread. Rows end for whole warps at once; a column may lie past the end.
struct PiecePlace {
  int row, column;
};

__device__ inline PiecePlace piece_of_warp(int pieces) {
  const int64_t warp = (int64_t{blockIdx.x} * kPieceThreads + threadIdx.x) / kWarp;
  return {static_cast<int>(warp / pieces),
          static_cast<int>(warp % pieces) * kWarp + static_cast<int>(threadIdx.x % kWarp)};
}

}  // namespace caffe::cuda
