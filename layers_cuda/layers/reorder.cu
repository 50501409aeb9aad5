// Reorder on the GPU; as layers_cpp/layers/reorder.cpp. Another type alone is converted element by element.
// Between the layouts every item is a matrix to be transposed: channels x pixels, or pixels x channels. A
// block moves one tile through shared memory, so that reads and writes both run along rows.
#include "core/accelerator.hpp"
#include "core/cuda_layer.hpp"
#include "layers/sharing.hpp"
#include "math/elementwise.hpp"

namespace caffe::cuda {
namespace {

constexpr int kTileThreads = 256;

// How a block walks over kRows x kCols values, neighbouring threads along a row.
template <int kRows, int kCols>
struct TileWalk {
  static constexpr int kAcross = kCols < kTileThreads ? kCols : kTileThreads;
  static constexpr int kDown = kTileThreads / kAcross, kStepsPerRow = kCols / kAcross;
  static constexpr int kSteps = kRows * kCols / kTileThreads;

  __device__ static int row(int step) {
    return static_cast<int>(threadIdx.x) / kAcross + step / kStepsPerRow * kDown;
  }
  __device__ static int col(int step) {
    return static_cast<int>(threadIdx.x) % kAcross + step % kStepsPerRow * kAcross;
  }
};

struct Matrices {
  int64_t items;
  int rows, cols;  // of each item
};

// from: (items, rows, cols), to: (items, cols, rows). One block a tile of kRows x kCols.
template <int kRows, int kCols, class From, class To>
__global__ void __launch_bounds__(kTileThreads) reorder_kernel(Matrices size, const From* from, To* to) {
  using In = TileWalk<kRows, kCols>;
  using Out = TileWalk<kCols, kRows>;
  constexpr int kPitch = kCols + (kRows < 32 ? 32 / kRows : 1);  // a warp's reads of columns hit 32 banks
  __shared__ float tile[kRows * kPitch];

  const int tiles_across = (size.cols + kCols - 1) / kCols, tiles_down = (size.rows + kRows - 1) / kRows;
  const int tile_col = blockIdx.x % tiles_across, above = blockIdx.x / tiles_across;
  const int first_row = above % tiles_down * kRows, first_col = tile_col * kCols;
  const uint32_t item = above / tiles_down * (size.rows * size.cols);  // where it begins: below 2^31

  float value[In::kSteps];
#pragma unroll
  for (int step = 0; step < In::kSteps; ++step) {
    const int row = first_row + In::row(step), col = first_col + In::col(step);
    value[step] =
        row < size.rows && col < size.cols ? static_cast<float>(from[item + row * size.cols + col]) : 0.0f;
  }
#pragma unroll
  for (int step = 0; step < In::kSteps; ++step) tile[In::row(step) * kPitch + In::col(step)] = value[step];
  __syncthreads();
#pragma unroll
  for (int step = 0; step < Out::kSteps; ++step) {
    const int col = first_col + Out::row(step), row = first_row + Out::col(step);
    if (row < size.rows && col < size.cols)
      to[item + col * size.rows + row] = tile[Out::col(step) * kPitch + Out::row(step)];
  }
}

template <int kRows, int kCols, class From, class To>
void transpose_tiles(const Context& context, const Matrices& size, const From* from, To* to) {
  const int64_t across = (size.cols + kCols - 1) / kCols, down = (size.rows + kRows - 1) / kRows;
  Grid grid = grid_for(size.items * across * down, 1);
  grid.threads = dim3(kTileThreads);
  launch(context, "reorder", grid, reorder_kernel<kRows, kCols, From, To>, size, from, to);
}

// Tiles of 16 to 20 KiB, narrow for images of few channels, or few pixels, to keep their threads busy.
template <class From, class To>
void transpose(const Context& context, const Matrices& size, const From* from, To* to) {
  if (size.rows <= 4)
    transpose_tiles<4, 1024>(context, size, from, to);
  else if (size.cols <= 4)
    transpose_tiles<1024, 4>(context, size, from, to);
  else if (size.rows <= 16)
    transpose_tiles<16, 256>(context, size, from, to);
  else if (size.cols <= 16)
    transpose_tiles<256, 16>(context, size, from, to);
  else
    transpose_tiles<64, 64>(context, size, from, to);
}

struct Identity {
  __device__ float operator()(float x) const { return x; }
};

class ReorderLayer : public CudaLayer {
 public:
  explicit ReorderLayer(const Args& args) : CudaLayer("Reorder", args) {}

  void reshape(const Blobs& bottom, const Blobs& top) override {
    shared_ = share_if_alike(*bottom[0], *top[0]);
    same_memory_ = same_memory(*bottom[0], *top[0]);
  }

  void forward(const Context& context, const Blobs& bottom, const Blobs& top) override {
    if (shared_ || top[0]->count() == 0) return;
    move(context, *bottom[0], bottom[0]->data<void>(), *top[0], top[0]->data<void>());
  }

  void backward(const Context& context, const Blobs& top, const std::vector<bool>& propagate_down,
                const Blobs& bottom) override {
    if (!propagate_down[0] || shared_ || top[0]->count() == 0) return;
    move(context, *top[0], top[0]->diff<void>(), *bottom[0], bottom[0]->diff<void>());
  }

 private:
  void move(const Context& context, const Blob& source, const void* from, const Blob& target,
            void* to) const {
    if (same_memory_ && source.dtype() == target.dtype()) return accelerator().copy(to, from, source.bytes());
    dispatch(source.dtype(), [&](auto from_zero) {
      dispatch(target.dtype(), [&](auto to_zero) {
        convert(context, source, static_cast<const decltype(from_zero)*>(from),
                static_cast<decltype(to_zero)*>(to));
      });
    });
  }

  template <class From, class To>
  void convert(const Context& context, const Blob& source, const From* from, To* to) const {
    if (same_memory_) return elementwise(context, "reorder", Identity{}, source.count(), to, from);
    const int channels = static_cast<int>(source.dim(1));
    const int pixels = static_cast<int>(count(source.shape(), 2));
    const bool plain = source.layout() == Layout::plain;
    transpose(context, {source.dim(0), plain ? channels : pixels, plain ? pixels : channels}, from, to);
  }

  bool shared_ = false, same_memory_ = false;
};

REGISTER_LAYER("Reorder", cuda, ReorderLayer);

}  // namespace
}  // namespace caffe::cuda
