// Concat on the GPU; as layers_cpp/layers/concat.cpp. All bottoms are copied by one launch: blockIdx.y tells
// which. The unit of copying is the widest that all slabs consist of, 16 bytes where channels are a multiple
// of 4 floats or 8 bfloat16 numbers.
#include <bit>

#include "core/cuda_layer.hpp"
#include "core/launch.hpp"
#include "layers/slabs.hpp"

namespace caffe::cuda {
namespace {

constexpr int kMostPieces = 64;  // in one launch
constexpr int kCopyThreads = 256, kUnitsPerThread = 4;

// Rows of one bottom, or of the part of the top that belongs to it; all sizes in bytes.
struct Rows {
  char* memory;
  size_t pitch;  // from one row to the next
};

struct Piece {
  Rows from, to;
  size_t width;  // bytes of each row to be copied
};

// The same in units.
template <class Unit>
struct UnitPiece {
  const Unit* from;
  Unit* to;
  uint32_t from_pitch, to_pitch, width;
};

template <class Unit>
struct UnitPieces {
  UnitPiece<Unit> at[kMostPieces];
};

// piece.from: (rows, from_pitch), piece.to: (rows, to_pitch), of which (rows, width) are copied.
template <class Unit>
__global__ void __launch_bounds__(kCopyThreads) concat_copy_kernel(UnitPieces<Unit> pieces, uint32_t rows) {
  const UnitPiece<Unit>& piece = pieces.at[blockIdx.y];
  const uint32_t count = rows * piece.width;
  const uint32_t first = blockIdx.x * (kCopyThreads * kUnitsPerThread) + threadIdx.x;
  Unit value[kUnitsPerThread];
#pragma unroll
  for (int k = 0; k < kUnitsPerThread; ++k) {
    const uint32_t i = first + k * kCopyThreads, row = i / piece.width, col = i % piece.width;
    if (i < count) value[k] = piece.from[row * piece.from_pitch + col];
  }
#pragma unroll
  for (int k = 0; k < kUnitsPerThread; ++k) {
    const uint32_t i = first + k * kCopyThreads, row = i / piece.width, col = i % piece.width;
    if (i < count) piece.to[row * piece.to_pitch + col] = value[k];
  }
}

template <class Unit>
void copy_in_units(const Context& context, const std::vector<Piece>& pieces, int64_t rows) {
  const auto units = [](size_t bytes) { return static_cast<uint32_t>(bytes / sizeof(Unit)); };
  for (size_t next = 0; next < pieces.size();) {
    UnitPieces<Unit> batch{};
    uint32_t size = 0, widest = 0;
    for (; next < pieces.size() && size < kMostPieces; ++next) {
      const auto& [from, to, width] = pieces[next];
      batch.at[size++] = {reinterpret_cast<const Unit*>(from.memory), reinterpret_cast<Unit*>(to.memory),
                          units(from.pitch), units(to.pitch), units(width)};
      widest = std::max(widest, units(width));
    }
    Grid grid = grid_for((rows * widest + kUnitsPerThread - 1) / kUnitsPerThread, kCopyThreads);
    grid.blocks.y = size;
    launch(context, "concat_copy", grid, concat_copy_kernel<Unit>, batch, rows);
  }
}

// The pieces do not overlap and are not empty.
void copy_pieces(const Context& context, const std::vector<Piece>& pieces, int64_t rows) {
  uintptr_t bits = 16;  // the lowest bit of all addresses and sizes is the widest possible unit
  for (const auto& [from, to, width] : pieces)
    bits |= reinterpret_cast<uintptr_t>(from.memory) | reinterpret_cast<uintptr_t>(to.memory) | from.pitch |
            to.pitch | width;
  switch (bits & (~bits + 1)) {
    case 16:
      return copy_in_units<uint4>(context, pieces, rows);
    case 8:
      return copy_in_units<uint2>(context, pieces, rows);
    case 4:
      return copy_in_units<uint32_t>(context, pieces, rows);
    default:
      return copy_in_units<uint16_t>(context, pieces, rows);
  }
}

class ConcatLayer : public CudaLayer {
 public:
  explicit ConcatLayer(const Args& args) : CudaLayer("Concat", args), axis_(args.integer("axis")) {}

  void reshape(const Blobs& bottom, const Blobs& top) override {
    slabs_ = slabs_before(*top[0], canonical_axis(top[0]->shape(), axis_));
    if (bottom.size() == 1) {
      top[0]->share_data(*bottom[0]);
      top[0]->share_diff(*bottom[0]);
    }
  }

  void forward(const Context& context, const Blobs& bottom, const Blobs& top) override {
    if (bottom.size() == 1 || top[0]->count() == 0) return;
    const size_t pitch = slab_bytes(*top[0]);
    char* to = top[0]->data<char>();
    std::vector<Piece> pieces;
    for (const BlobPtr& each : bottom) {
      const size_t width = slab_bytes(*each);
      if (width > 0) pieces.push_back({{each->data<char>(), width}, {to, pitch}, width});
      to += width;
    }
    copy_pieces(context, pieces, slabs_);
  }

  void backward(const Context& context, const Blobs& top, const std::vector<bool>& propagate_down,
                const Blobs& bottom) override {
    if (bottom.size() == 1 || top[0]->count() == 0) return;
    const size_t pitch = slab_bytes(*top[0]);
    char* from = top[0]->diff<char>();
    std::vector<Piece> pieces;
    for (size_t i = 0; i < bottom.size(); ++i) {
      const size_t width = slab_bytes(*bottom[i]);
      if (propagate_down[i] && width > 0)
        pieces.push_back({{from, pitch}, {bottom[i]->diff<char>(), width}, width});
      from += width;
    }
    copy_pieces(context, pieces, slabs_);
  }

 private:
  size_t slab_bytes(const Blob& blob) const { return blob.bytes() / static_cast<size_t>(slabs_); }

  const int64_t axis_;
  int64_t slabs_ = 0;
};

REGISTER_LAYER("Concat", cuda, ConcatLayer);

}  // namespace
}  // namespace caffe::cuda
