// LRN, local response normalisation of x (N, C, H, W) channels-last, with n = local_size:
//
//   y = x * s^(-beta),  s = k + alpha / m * (sum of x^2 over a window around the element)
//
// ACROSS_CHANNELS: the window is n channels, m = n. WITHIN_CHANNEL: it is n x n places of the same channel, m
// = n^2 and k = 1. Windows are cut at the borders, m is not.
//
// Gradient: dx = dy * s^(-beta) - 2 alpha beta / m * x * (sum of dy * y / s over the same window). Nothing is
// kept for it: s and y are computed again from x, which costs less than reading them. In-place use is not
// possible.
#include "core/error.hpp"
#include "core/parallel.hpp"
#include "core/registry.hpp"
#include "math/vector_math.hpp"

namespace caffe {
namespace {

struct Normalization {
  int64_t size;       // n, odd
  float alpha, beta;  // alpha already divided by m
  float k;

  int64_t reach() const { return (size - 1) / 2; }
  float scale(float sum) const { return k + alpha * sum; }
};

struct Map {
  int64_t images, channels, height, width;

  int64_t pixels() const { return images * height * width; }
  int64_t row() const { return width * channels; }  // elements
};

// Pieces of work of `elements` each that are worth a thread; an element costs a power.
int64_t grain(int64_t elements) { return kElementwiseGrain / 4 / std::max<int64_t>(1, elements) + 1; }

// --- Across channels: a pixel, C contiguous channels, at a time
// ------------------------------------------------------

// What a thread needs of scratch: a line of C values with `reach` zeros before and after it, and two of C
// values.
struct AcrossLines {
  AcrossLines(float* scratch, int thread, int64_t channels, int64_t reach) {
    padded = scratch + thread * size(channels, reach) + reach;
    sums = padded + channels + reach;
    factors = sums + channels;
    std::fill_n(padded - reach, channels + 2 * reach, 0.0f);
  }
  static int64_t size(int64_t channels, int64_t reach) { return 3 * channels + 2 * reach; }

  float *padded, *sums, *factors;
};

// sums[c] = values[c - reach] + ... + values[c + reach]
void sum_windows(const float* values, int64_t channels, int64_t reach, float* sums) {
  std::copy_n(values - reach, channels, sums);
  for (int64_t shift = 1 - reach; shift <= reach; ++shift) {
#pragma omp simd
    for (int64_t c = 0; c < channels; ++c) sums[c] += values[c + shift];
  }
}

template <class T>
void sum_squares_across(const T* x, int64_t channels, int64_t reach, const AcrossLines& lines) {
#pragma omp simd
  for (int64_t c = 0; c < channels; ++c)
    lines.padded[c] = static_cast<float>(x[c]) * static_cast<float>(x[c]);
  sum_windows(lines.padded, channels, reach, lines.sums);
}

template <class T>
void across_forward(const Map& map, const Normalization& norm, const T* x, T* y, float* scratch) {
  const int64_t channels = map.channels, reach = norm.reach();
  parallel_for(map.pixels(), grain(channels), [=](int64_t begin, int64_t end, int thread) {
    const AcrossLines lines(scratch, thread, channels, reach);
    for (int64_t pixel = begin; pixel < end; ++pixel) {
      const T* from = x + pixel * channels;
      T* to = y + pixel * channels;
      sum_squares_across(from, channels, reach, lines);
#pragma omp simd
      for (int64_t c = 0; c < channels; ++c)
        to[c] = static_cast<float>(from[c]) * vector_power(norm.scale(lines.sums[c]), -norm.beta);
    }
  });
}

template <class T>
void across_backward(const Map& map, const Normalization& norm, const T* x, const T* dy, T* dx,
                     float* scratch) {
  const int64_t channels = map.channels, reach = norm.reach();
  const float weight = 2.0f * norm.alpha * norm.beta;
  parallel_for(map.pixels(), grain(channels), [=](int64_t begin, int64_t end, int thread) {
    const AcrossLines lines(scratch, thread, channels, reach);
    for (int64_t pixel = begin; pixel < end; ++pixel) {
      const T *from = x + pixel * channels, *gradient = dy + pixel * channels;
      T* to = dx + pixel * channels;
      sum_squares_across(from, channels, reach, lines);
#pragma omp simd
      for (int64_t c = 0; c < channels; ++c) {
        const float scale = norm.scale(lines.sums[c]), factor = vector_power(scale, -norm.beta);
        lines.factors[c] = factor;
        lines.padded[c] = static_cast<float>(gradient[c]) * static_cast<float>(from[c]) * factor / scale;
      }
      sum_windows(lines.padded, channels, reach, lines.sums);
#pragma omp simd
      for (int64_t c = 0; c < channels; ++c)
        to[c] = static_cast<float>(gradient[c]) * lines.factors[c] -
                weight * static_cast<float>(from[c]) * lines.sums[c];
    }
  });
}

// --- Within a channel: a row of pixels, W * C contiguous values, at a time
// -------------------------------------------

// sums[w, c] = value(h', w, c) added over the rows h' of the window around row h of one image; `value` takes
// an offset.
template <class Value>
void sum_column(const Map& map, int64_t reach, int64_t image, int64_t h, float* sums, Value&& value) {
  std::fill_n(sums, map.row(), 0.0f);
  const int64_t last = std::min(h + reach, map.height - 1);
  for (int64_t other = std::max<int64_t>(0, h - reach); other <= last; ++other) {
    const int64_t offset = (image * map.height + other) * map.row();
#pragma omp simd
    for (int64_t i = 0; i < map.row(); ++i) sums[i] += value(offset + i);
  }
}

// sums[c] = columns[w', c] added over the places w' of the window around place w.
void sum_window(const Map& map, int64_t reach, int64_t w, const float* columns, float* sums) {
  std::fill_n(sums, map.channels, 0.0f);
  const int64_t last = std::min(w + reach, map.width - 1);
  for (int64_t other = std::max<int64_t>(0, w - reach); other <= last; ++other) {
#pragma omp simd
    for (int64_t c = 0; c < map.channels; ++c) sums[c] += columns[other * map.channels + c];
  }
}

// Calls body(offset, s) for every pixel of rows [begin, end), s being its C scales. `columns` and `scales`
// are scratch. before_row(image, h) is called first in every row.
template <class T, class BeforeRow, class Body>
void for_each_scale(const Map& map, const Normalization& norm, const T* x, int64_t begin, int64_t end,
                    float* columns, float* scales, BeforeRow&& before_row, Body&& body) {
  for (int64_t row = begin; row < end; ++row) {
    const int64_t image = row / map.height, h = row % map.height;
    sum_column(map, norm.reach(), image, h, columns,
               [=](int64_t i) { return static_cast<float>(x[i]) * static_cast<float>(x[i]); });
    before_row(image, h);
    for (int64_t w = 0; w < map.width; ++w) {
      sum_window(map, norm.reach(), w, columns, scales);
#pragma omp simd
      for (int64_t c = 0; c < map.channels; ++c) scales[c] = norm.scale(scales[c]);
      body(row * map.row() + w * map.channels, w);
    }
  }
}

// What a thread needs of scratch: sums of a row, twice, and of a pixel, twice.
struct WithinLines {
  WithinLines(float* scratch, int thread, const Map& map)
      : columns(scratch + thread * size(map)),
        ratio_columns(columns + map.row()),
        scales(ratio_columns + map.row()),
        ratio_sums(scales + map.channels) {}
  static int64_t size(const Map& map) { return 2 * (map.row() + map.channels); }

  float *columns, *ratio_columns, *scales, *ratio_sums;
};

template <class T>
void within_forward(const Map& map, const Normalization& norm, const T* x, T* y, float* scratch) {
  parallel_for(map.images * map.height, grain(map.row()), [=](int64_t begin, int64_t end, int thread) {
    const WithinLines lines(scratch, thread, map);
    const auto nothing = [](int64_t, int64_t) {};
    for_each_scale(
        map, norm, x, begin, end, lines.columns, lines.scales, nothing, [=](int64_t offset, int64_t) {
#pragma omp simd
          for (int64_t c = 0; c < map.channels; ++c)
            y[offset + c] = static_cast<float>(x[offset + c]) * vector_power(lines.scales[c], -norm.beta);
        });
  });
}

// ratios = dy * y / s of every element.
template <class T>
void within_ratios(const Map& map, const Normalization& norm, const T* x, const T* dy, float* ratios,
                   float* scratch) {
  parallel_for(map.images * map.height, grain(map.row()), [=](int64_t begin, int64_t end, int thread) {
    const WithinLines lines(scratch, thread, map);
    const auto nothing = [](int64_t, int64_t) {};
    for_each_scale(
        map, norm, x, begin, end, lines.columns, lines.scales, nothing, [=](int64_t offset, int64_t) {
#pragma omp simd
          for (int64_t c = 0; c < map.channels; ++c)
            ratios[offset + c] = static_cast<float>(dy[offset + c]) * static_cast<float>(x[offset + c]) *
                                 vector_power(lines.scales[c], -norm.beta) / lines.scales[c];
        });
  });
}

template <class T>
void within_backward(const Map& map, const Normalization& norm, const T* x, const T* dy, T* dx,
                     const float* ratios, float* scratch) {
  const float weight = 2.0f * norm.alpha * norm.beta;
  parallel_for(map.images * map.height, grain(map.row()), [=](int64_t begin, int64_t end, int thread) {
    const WithinLines lines(scratch, thread, map);
    const auto sum_ratios = [&](int64_t image, int64_t h) {
      sum_column(map, norm.reach(), image, h, lines.ratio_columns, [=](int64_t i) { return ratios[i]; });
    };
    for_each_scale(
        map, norm, x, begin, end, lines.columns, lines.scales, sum_ratios, [=](int64_t offset, int64_t w) {
          sum_window(map, norm.reach(), w, lines.ratio_columns, lines.ratio_sums);
#pragma omp simd
          for (int64_t c = 0; c < map.channels; ++c)
            dx[offset + c] = static_cast<float>(dy[offset + c]) * vector_power(lines.scales[c], -norm.beta) -
                             weight * static_cast<float>(x[offset + c]) * lines.ratio_sums[c];
        });
  });
}

class LRNLayer : public Layer {
 public:
  explicit LRNLayer(const Args& args) : within_(args.flag("within_channel")) {
    const int64_t size = args.integer("local_size");
    const auto places = static_cast<float>(within_ ? size * size : size);
    norm_ = {size, args.real("alpha") / places, args.real("beta"), within_ ? 1.0f : args.real("k")};
  }

  std::vector<Shape> top_shapes(const std::vector<Shape>& bottoms) const override {
    if (bottoms[0].size() != 4)
      throw ShapeError(message("the bottom must have 4 axes (N, C, H, W), got ", to_string(bottoms[0])));
    return bottoms;
  }

  void reshape(const Blobs& bottom, const Blobs&) override {
    const Blob& x = *bottom[0];
    map_ = {x.dim(0), x.dim(1), x.dim(2), x.dim(3)};
  }

  void forward(const Context& context, const Blobs& bottom, const Blobs& top) override {
    auto* scratch = static_cast<float*>(context.scratch->data());
    dispatch(top[0]->dtype(), [&](auto zero) {
      using T = decltype(zero);
      const auto compute = within_ ? within_forward<T> : across_forward<T>;
      compute(map_, norm_, bottom[0]->data<T>(), top[0]->data<T>(), scratch);
    });
  }

  void backward(const Context& context, const Blobs& top, const std::vector<bool>& propagate_down,
                const Blobs& bottom) override {
    if (!propagate_down[0]) return;
    auto* scratch = static_cast<float*>(context.scratch->data());
    dispatch(top[0]->dtype(), [&](auto zero) {
      using T = decltype(zero);
      const T *x = bottom[0]->data<T>(), *dy = top[0]->diff<T>();
      T* dx = bottom[0]->diff<T>();
      if (within_) {
        float* ratios = scratch + lines_count();
        within_ratios(map_, norm_, x, dy, ratios, scratch);
        within_backward(map_, norm_, x, dy, dx, ratios, scratch);
      } else {
        across_backward(map_, norm_, x, dy, dx, scratch);
      }
    });
  }

  size_t scratch_bytes() const override {
    const int64_t ratios = within_ ? map_.pixels() * map_.channels : 0;
    return static_cast<size_t>(lines_count() + ratios) * sizeof(float);
  }

 private:
  int64_t lines_count() const {
    const int64_t line = within_ ? WithinLines::size(map_) : AcrossLines::size(map_.channels, norm_.reach());
    return max_threads() * line;
  }

  const bool within_;
  Normalization norm_{};
  Map map_{};
};

REGISTER_LAYER("LRN", cpu, LRNLayer);

}  // namespace
}  // namespace caffe
