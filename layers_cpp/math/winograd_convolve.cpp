// Winograd's algorithm: forward, and the gradient of the data, which is forward with turned kernels.
#include <limits>

#include "core/parallel.hpp"
#include "math/winograd_tiles.hpp"

namespace caffe {
namespace {

using namespace winograd;

// What a thread computes of y at a time: some tiles, and some of a group's outputs, whole panels.
struct Part {
  int64_t first, count;  // tiles
  int64_t begin, end;    // outputs
};

// products -> y, for one group.
template <int kTile, class T>
void transform_outputs(const WinogradShape& s, const Matrices& products, int64_t group, const Part& part,
                       const WinogradFinish<T>& finish, T* y) {
  const Floats floor = broadcast(finish.relu ? 0.0f : -std::numeric_limits<float>::infinity());
  for (int64_t t = 0; t < part.count; ++t) {
    const Tile tile = tile_at(s, part.first + t);
    const int64_t rows = std::min<int64_t>(kTile, s.out_height - tile.y),
                  columns = std::min<int64_t>(kTile, s.out_width - tile.x);
    const int64_t corner = ((tile.image * s.out_height + tile.y) * s.out_width + tile.x) * s.outputs;
    for_each_vector(part.end - part.begin, [&](int64_t start, auto lanes) {
      const int64_t output = group * (s.outputs / s.groups) + part.begin + start;
      const Floats offset = finish.bias ? load(finish.bias + output, lanes) : Floats{};
      outputs_2d<kTile>(
          [&](int i, int j) { return load_raw<Floats>(products.at(i, j, t, part.begin + start), kAllLanes); },
          [&](int i, int j, Floats value) {
            if (i >= rows || j >= columns) return;
            const int64_t place = corner + (i * s.out_width + j) * s.outputs + output;
            value += offset;
            if (finish.addend) value += load(finish.addend + place, lanes);
            store(value < floor ? floor : value, y + place, lanes);
          });
    });
  }
}

// Tiles that a thread transforms and multiplies at a time: enough to use packed kernels often, few enough for
// the cache.
constexpr int64_t kBlockTiles = 3 * 14;

int64_t block_tiles(const WinogradShape& s) { return std::min(kBlockTiles, s.tiles()); }

// A thread's windows and products of one block.
struct ConvolveBuffers {
  Matrices windows, products;
  ConvolveBuffers(const WinogradShape& s, float* own)
      : windows(own, block_tiles(s), s.channels / s.groups),
        products(own + window_floats(s), block_tiles(s), s.outputs / s.groups) {}

  static int64_t window_floats(const WinogradShape& s) {
    return Matrices::floats(block_tiles(s), s.channels / s.groups);
  }
  static int64_t floats(const WinogradShape& s) {
    return window_floats(s) + Matrices::floats(block_tiles(s), s.outputs / s.groups);
  }
};

// products = windows * packed kernels of a group.
void multiply_windows(const WinogradShape& s, const Part& part, const float* packed,
                      const ConvolveBuffers& buffers) {
  const int64_t channels = s.channels / s.groups, outputs = s.outputs / s.groups;
  const int64_t matrix = channels * round_up(outputs, kLanes);
  for (int j = 0; j < kPoints; ++j)
    for (int i = 0; i < kPoints; ++i)
      for (int64_t start = part.begin; start < part.end; start += kPanel) {
        const Panel panel = panel_of(s, start);
        const float* kernels = packed + (j * kPoints + i) * matrix + panel.offset;
        multiply_panel<false>(part.count, channels, panel.stride / kLanes,
                              {buffers.windows.at(i, j, 0, 0), buffers.windows.row}, {kernels, panel.stride},
                              {buffers.products.at(i, j, 0, start), buffers.products.row},
                              /*accumulate=*/false);
      }
}

template <class T>
void convolve_part(const WinogradShape& s, const T* x, const float* packed, const WinogradFinish<T>& finish,
                   T* y, int64_t group, const Part& part, const ConvolveBuffers& buffers) {
  transform_windows(s, x, group, part.first, part.count, buffers.windows);
  multiply_windows(s, part, packed + group * group_floats(s), buffers);
  if (s.tile() == 4)
    transform_outputs<4>(s, buffers.products, group, part, finish, y);
  else
    transform_outputs<2>(s, buffers.products, group, part, finish, y);
}

// Threads share out the tiles; if those are few, the panels of outputs, so that each reads its own kernels.
bool shares_outputs(const WinogradShape& s) { return s.tiles() < 32; }

// Calls body(part, thread) for all parts of a group.
template <class Body>
void for_each_part(const WinogradShape& s, Body&& body) {
  const int64_t outputs = s.outputs / s.groups;
  if (shares_outputs(s)) {
    parallel_for((outputs + kPanel - 1) / kPanel, 1, [&](int64_t begin, int64_t end, int thread) {
      body(Part{0, s.tiles(), begin * kPanel, std::min(end * kPanel, outputs)}, thread);
    });
    return;
  }
  parallel_for(s.tiles(), 8, [&](int64_t begin, int64_t end, int thread) {
    for (int64_t first = begin; first < end; first += block_tiles(s))
      body(Part{first, std::min(block_tiles(s), end - first), 0, outputs}, thread);
  });
}

}  // namespace

size_t winograd_convolve_scratch_bytes(const WinogradShape& shape) {
  return static_cast<size_t>(max_threads() * ConvolveBuffers::floats(shape)) * sizeof(float);
}

template <class T>
void winograd_convolve(const WinogradShape& shape, const T* x, const float* packed,
                       const WinogradFinish<T>& finish, T* y, void* scratch) {
  for (int64_t group = 0; group < shape.groups; ++group)
    for_each_part(shape, [&](const Part& part, int thread) {
      const ConvolveBuffers own(shape,
                                static_cast<float*>(scratch) + thread * ConvolveBuffers::floats(shape));
      convolve_part(shape, x, packed, finish, y, group, part, own);
    });
}

template void winograd_convolve(const WinogradShape&, const float*, const float*,
                                const WinogradFinish<float>&, float*, void*);
template void winograd_convolve(const WinogradShape&, const bfloat16*, const float*,
                                const WinogradFinish<bfloat16>&, bfloat16*, void*);

}  // namespace caffe
