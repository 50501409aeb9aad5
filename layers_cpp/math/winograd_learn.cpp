// Winograd's algorithm: the gradient of the weights.
#include <numeric>

#include "core/parallel.hpp"
#include "math/winograd_tiles.hpp"

namespace caffe {
namespace {

using namespace winograd;

// The weights' gradient is shared out by products and outputs, so that threads share no memory they write:
// a thread computes the products of some columns of the six by six, for some of a group's outputs, over all
// tiles in order. Its bits do not depend on the number of threads.
struct Share {
  Columns columns;
  int64_t first_output, outputs;
};

int64_t shares() { return max_threads(); }

Share share_of(const WinogradShape& s, int64_t index) {
  const int64_t across = std::gcd(shares(), kPoints), parts = shares() / across,
                outputs = s.outputs / s.groups;
  const int column = static_cast<int>(index % across * (kPoints / across));
  const int64_t begin = outputs * (index / across) / parts, end = outputs * (index / across + 1) / parts;
  return {{column, column + static_cast<int>(kPoints / across)}, begin, end - begin};
}

// Tiles that a thread transforms before it adds their products to the gradient.
int64_t learn_tiles(const WinogradShape& s) { return std::min<int64_t>(64, s.tiles()); }

// A thread's transformed windows of x and tiles of dy.
struct LearnBuffers {
  Matrices windows, tiles;
  LearnBuffers(const WinogradShape& s, Columns columns, float* own)
      : windows(own, learn_tiles(s), s.channels / s.groups, columns),
        tiles(own + window_floats(s, columns), learn_tiles(s), s.outputs / s.groups, columns) {}

  static int64_t window_floats(const WinogradShape& s, Columns columns) {
    return Matrices::floats(learn_tiles(s), s.channels / s.groups, columns);
  }
  static int64_t floats(const WinogradShape& s) {
    const Columns columns = share_of(s, 0).columns;  // all shares have as many
    return window_floats(s, columns) + Matrices::floats(learn_tiles(s), s.outputs / s.groups, columns);
  }
};

int64_t gradient_floats(const WinogradShape& s) {
  return Matrices::floats(s.outputs / s.groups, s.channels / s.groups);
}

// Tiles of dy, kTile x kTile each, evaluated at the six points; sums of dy are added to `sums`.
template <int kTile, class T>
void transform_tiles(const WinogradShape& s, const T* dy, int64_t group, const Share& share, int64_t first,
                     int64_t count, const Matrices& tiles, float* sums) {
  for (int64_t t = 0; t < count; ++t) {
    const Tile tile = tile_at(s, first + t);
    const T* map = dy + tile.image * s.out_height * s.out_width * s.outputs + group * (s.outputs / s.groups) +
                   share.first_output;
    const Window<kTile, T> window{map, s.outputs, s.out_height, s.out_width, tile.y, tile.x};
    for_each_vector(share.outputs, [&](int64_t start, auto lanes) {
      Floats sum{};
      window.read(start, lanes, [&](auto read) {
        evaluate_2d<kTile>(
            tiles.columns,
            [&](int i, int j) {
              const Floats value = read(i, j);
              sum += value;
              return value;
            },
            [&](int i, int j, Floats value) { store_raw(value, tiles.at(i, j, t, start), kAllLanes); });
      });
      if (sums) store(load(sums + start, lanes) + sum, sums + start, lanes);
    });
  }
}

// gradient (outputs x channels) += tiles^T windows, for the products and outputs of a share.
void multiply_tiles(const WinogradShape& s, const Share& share, const LearnBuffers& buffers, int64_t count,
                    const Matrices& gradient, bool accumulate) {
  const int64_t channels = s.channels / s.groups;
  for (int j = share.columns.begin; j < share.columns.end; ++j)
    for (int i = 0; i < kPoints; ++i)
      for (int64_t start = 0; start < channels; start += kPanel) {
        multiply_panel<true>(share.outputs, count, panel_vectors(channels - start),
                             {buffers.tiles.at(i, j, 0, 0), buffers.tiles.row},
                             {buffers.windows.at(i, j, 0, start), buffers.windows.row},
                             {gradient.at(i, j, share.first_output, start), gradient.row}, accumulate);
      }
}

// The share's part of the gradient in the products' domain. The first column's thread sums dy into `db`.
template <class T>
void learn_share(const WinogradShape& s, const T* x, const T* dy, int64_t group, const Share& share,
                 float* db, const LearnBuffers& buffers, const Matrices& gradient) {
  float* sums =
      db && share.columns.begin == 0 ? db + group * (s.outputs / s.groups) + share.first_output : nullptr;
  for (int64_t first = 0; first < s.tiles(); first += learn_tiles(s)) {
    const int64_t count = std::min(learn_tiles(s), s.tiles() - first);
    transform_windows(s, x, group, first, count, buffers.windows);
    if (s.tile() == 4)
      transform_tiles<4>(s, dy, group, share, first, count, buffers.tiles, sums);
    else
      transform_tiles<2>(s, dy, group, share, first, count, buffers.tiles, sums);
    multiply_tiles(s, share, buffers, count, gradient, first > 0);
  }
}

// gradient -> dw, plain, of one group.
template <int kTaps>
void transform_gradient(const WinogradShape& s, const Matrices& gradient, float* dw, bool add) {
  constexpr int kArea = kTaps * kTaps;
  const int64_t channels = s.channels / s.groups, outputs = s.outputs / s.groups;
  parallel_for(outputs, 4, [&](int64_t begin, int64_t end, int) {
    for (int64_t output = begin; output < end; ++output)
      for (int64_t start = 0; start < channels; start += kLanes) {
        Floats taps[kArea];
        outputs_2d<kTaps>(
            [&](int i, int j) { return load_raw<Floats>(gradient.at(i, j, output, start), kAllLanes); },
            [&](int i, int j, Floats value) { taps[i * kTaps + j] = value; });
        float* to = dw + (output * channels + start) * kArea;
        const int64_t lanes = std::min<int64_t>(kLanes, channels - start);
        for (int64_t lane = 0; lane < lanes; ++lane, to += kArea)
          for (int i = 0; i < kArea; ++i) to[i] = (add ? to[i] : 0.0f) + taps[i][lane];
      }
  });
}

}  // namespace

size_t winograd_learn_scratch_bytes(const WinogradShape& shape) {
  return static_cast<size_t>(gradient_floats(shape) + shares() * LearnBuffers::floats(shape)) * sizeof(float);
}

template <class T>
void winograd_learn(const WinogradShape& shape, const T* x, const T* dy, float* dw, bool add, float* db,
                    void* scratch) {
  const Matrices gradient(static_cast<float*>(scratch), shape.outputs / shape.groups,
                          shape.channels / shape.groups);
  float* buffers = gradient.data + gradient_floats(shape);
  const int64_t weights =
      shape.outputs / shape.groups * (shape.channels / shape.groups) * shape.kernel * shape.kernel;
  if (db) std::fill_n(db, shape.outputs, 0.0f);
  for (int64_t group = 0; group < shape.groups; ++group) {
    parallel_for(shares(), 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t index = begin; index < end; ++index) {
        const Share share = share_of(shape, index);
        const LearnBuffers own(shape, share.columns, buffers + index * LearnBuffers::floats(shape));
        learn_share(shape, x, dy, group, share, db, own, gradient);
      }
    });
    if (shape.kernel == 3)
      transform_gradient<3>(shape, gradient, dw + group * weights, add);
    else
      transform_gradient<5>(shape, gradient, dw + group * weights, add);
  }
}

template void winograd_learn(const WinogradShape&, const float*, const float*, float*, bool, float*, void*);
template void winograd_learn(const WinogradShape&, const bfloat16*, const bfloat16*, float*, bool, float*,
                             void*);

}  // namespace caffe
