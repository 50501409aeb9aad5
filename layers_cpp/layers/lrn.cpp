// LRN, local response normalisation of x (N, C, H, W) channels-last, with n = local_size:
//
//   y = x * s^(-beta),  s = k + alpha / m * (sum of x^2 over a window around the element)
//
//   ACROSS_CHANNELS  the window is n channels at the same place, m = n
//   WITHIN_CHANNEL   the window is n x n places of the same channel, m = n^2, k = 1
//
// Windows are cut at the borders, m is not.
//
// Gradient: dx = dy * s^(-beta) - 2 alpha beta / m * x * (sum of dy * y / s over the same window). Nothing is
// kept for it: s and y are computed again from x. In-place use is not possible.
#include <cmath>

#include "core/error.hpp"
#include "core/parallel.hpp"
#include "core/registry.hpp"
#include "math/simd.hpp"
#include "math/vector_math.hpp"

namespace caffe {
namespace {

struct Normalization {
  int64_t size;       // n, odd
  float alpha, beta;  // alpha already divided by m
  float k;

  int64_t reach() const { return (size - 1) / 2; }
  template <class Number>
  Number scale(Number sum) const {
    return k + alpha * sum;
  }
};

// s^(-beta) and 1 / s, in general and for the beta that most nets use, which needs no logarithm.
template <class Number>
struct Powers {
  Number factor, inverse;
};
struct AnyPower {
  float beta;
  Powers<float> operator()(float s) const { return {vector_power(s, -beta), 1.0f / s}; }
  Powers<Floats> operator()(Floats s) const {
    Powers<Floats> powers{{}, 1.0f / s};
#pragma omp simd
    for (int lane = 0; lane < kLanes; ++lane) powers.factor[lane] = vector_power(s[lane], -beta);
    return powers;
  }
};
struct ThreeQuarters {
  Powers<float> operator()(float s) const {
    const float root = 1.0f / std::sqrt(s);
    return {root * std::sqrt(root), root * root};
  }
  Powers<Floats> operator()(Floats s) const {
    const Floats root = reciprocal_root(s);
    return {root * square_root(root), root * root};
  }
};

template <class Body>
void with_power(float beta, Body&& body) {
  if (beta == 0.75f)
    body(ThreeQuarters{});
  else
    body(AnyPower{beta});
}

struct Map {
  int64_t images, channels, height, width;

  int64_t pixels() const { return images * height * width; }
  int64_t row() const { return width * channels; }  // elements
};

// Pieces of work of `elements` each that are worth a thread; an element costs a power.
int64_t grain(int64_t elements) { return kElementwiseGrain / 4 / std::max<int64_t>(1, elements) + 1; }

// Across channels: one pixel, C contiguous channels, at a time.

constexpr int64_t kUsualReach = 2;  // local_size 5

// What a thread needs of scratch: C values with `reach` zeros before and after them, and twice C values.
struct AcrossLines {
  AcrossLines(float* scratch, int thread, int64_t channels, int64_t reach) {
    padded = scratch + thread * size(channels, reach) + reach;
    direct = padded + channels + reach;  // dy * s^(-beta)
    ratios = direct + channels;          // dy * y / s
    std::fill_n(padded - reach, channels + 2 * reach, 0.0f);
  }
  static int64_t size(int64_t channels, int64_t reach) { return 3 * channels + 2 * reach; }

  float *padded, *direct, *ratios;
};

// Calls body(c, lanes, sum) for the vectors of channels, `sum` being that of value(c, lanes) over the window
// of 5 channels. Values stay in registers: a load across two recent stores would have to wait for them.
template <class Value, class Body>
void with_sums_of_5(int64_t channels, Value&& value, Body&& body) {
  const auto value_at = [&](int64_t c) {
    if (c + kLanes <= channels) return value(c, kAllLanes);
    return c < channels ? value(c, static_cast<int>(channels - c)) : Floats{};
  };
  Floats before{}, here = value_at(0);
  for_each_vector(channels, [&](int64_t c, auto lanes) {
    const Floats after = value_at(c + kLanes);
    const Floats outer = shifted<kLanes - 2>(before, here) + shifted<2>(here, after);
    const Floats inner = shifted<kLanes - 1>(before, here) + shifted<1>(here, after);
    body(c, lanes, outer + inner + here);
    before = here;
    here = after;
  });
}

// The same for windows of any reach.
template <class Value, class Body>
void with_sums(int64_t channels, int64_t reach, float* padded, Value&& value, Body&& body) {
  if (reach == kUsualReach) return with_sums_of_5(channels, value, body);
  for_each_vector(channels, [&](int64_t c, auto lanes) { store(value(c, lanes), padded + c, lanes); });
  for_each_vector(channels, [&](int64_t c, auto lanes) {
    Floats sum{};
    for (int64_t shift = -reach; shift <= reach; ++shift) sum += load(padded + c + shift, lanes);
    body(c, lanes, sum);
  });
}

template <class T, class Power>
void across_forward(const Map& map, const Normalization& norm, Power power, const T* x, T* y,
                    float* scratch) {
  const int64_t channels = map.channels, reach = norm.reach();
  parallel_for(map.pixels(), grain(channels), [=](int64_t begin, int64_t end, int thread) {
    const AcrossLines lines(scratch, thread, channels, reach);
    for (int64_t pixel = begin; pixel < end; ++pixel) {
      const T* from = x + pixel * channels;
      T* to = y + pixel * channels;
      const auto square = [=](int64_t c, auto lanes) {
        const Floats values = load(from + c, lanes);
        return values * values;
      };
      with_sums(channels, reach, lines.padded, square, [=](int64_t c, auto lanes, Floats sum) {
        store(load(from + c, lanes) * power(norm.scale(sum)).factor, to + c, lanes);
      });
    }
  });
}

template <class T, class Power>
void across_backward(const Map& map, const Normalization& norm, Power power, const T* x, const T* dy, T* dx,
                     float* scratch) {
  const int64_t channels = map.channels, reach = norm.reach();
  const float weight = 2.0f * norm.alpha * norm.beta;
  parallel_for(map.pixels(), grain(channels), [=](int64_t begin, int64_t end, int thread) {
    const AcrossLines lines(scratch, thread, channels, reach);
    for (int64_t pixel = begin; pixel < end; ++pixel) {
      const T *from = x + pixel * channels, *gradient = dy + pixel * channels;
      T* to = dx + pixel * channels;
      const auto square = [=](int64_t c, auto lanes) {
        const Floats values = load(from + c, lanes);
        return values * values;
      };
      with_sums(channels, reach, lines.padded, square, [=](int64_t c, auto lanes, Floats sum) {
        const auto powers = power(norm.scale(sum));
        const Floats direct = load(gradient + c, lanes) * powers.factor;
        store(direct, lines.direct + c, lanes);
        store(direct * load(from + c, lanes) * powers.inverse, lines.ratios + c, lanes);
      });
      const auto ratio = [=](int64_t c, auto lanes) { return load(lines.ratios + c, lanes); };
      with_sums(channels, reach, lines.padded, ratio, [=](int64_t c, auto lanes, Floats sum) {
        store(load(lines.direct + c, lanes) - weight * load(from + c, lanes) * sum, to + c, lanes);
      });
    }
  });
}

// Within a channel: one row of pixels, W * C contiguous values, at a time.

// sums[w, c] = value(h', w, c) added over the rows h' of the window around row h of one image; `value` takes
// an offset.
template <class Value>
void sum_column(const Map& map, int64_t reach, int64_t image, int64_t h, float* sums, const Value& value) {
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

// What a thread needs of scratch: sums of a row and of a pixel.
struct WithinLines {
  WithinLines(float* scratch, int thread, const Map& map) {
    columns = scratch + thread * size(map);
    sums = columns + map.row();
  }
  static int64_t size(const Map& map) { return map.row() + map.channels; }

  float *columns, *sums;
};

// Calls body(offset, sums) for every pixel, `sums` being those of value(i) over its window, one for each
// channel.
template <class Value, class Body>
void for_each_window(const Map& map, int64_t reach, float* scratch, Value&& value, Body&& body) {
  parallel_for(map.images * map.height, grain(map.row()), [&](int64_t begin, int64_t end, int thread) {
    const WithinLines lines(scratch, thread, map);
    for (int64_t row = begin; row < end; ++row) {
      sum_column(map, reach, row / map.height, row % map.height, lines.columns, value);
      for (int64_t w = 0; w < map.width; ++w) {
        sum_window(map, reach, w, lines.columns, lines.sums);
        body(row * map.row() + w * map.channels, lines.sums);
      }
    }
  });
}

template <class T, class Power>
void within_forward(const Map& map, const Normalization& norm, Power power, const T* x, T* y,
                    float* scratch) {
  const auto square = [=](int64_t i) { return static_cast<float>(x[i]) * static_cast<float>(x[i]); };
  for_each_window(map, norm.reach(), scratch, square, [=](int64_t offset, const float* sums) {
#pragma omp simd
    for (int64_t c = 0; c < map.channels; ++c)
      y[offset + c] = static_cast<float>(x[offset + c]) * power(norm.scale(sums[c])).factor;
  });
}

// In two steps: factors = s^(-beta) and ratios = dy * y / s of every element, then dx.
template <class T, class Power>
void within_backward(const Map& map, const Normalization& norm, Power power, const T* x, const T* dy, T* dx,
                     float* factors, float* ratios, float* scratch) {
  const auto square = [=](int64_t i) { return static_cast<float>(x[i]) * static_cast<float>(x[i]); };
  for_each_window(map, norm.reach(), scratch, square, [=](int64_t offset, const float* sums) {
#pragma omp simd
    for (int64_t c = 0; c < map.channels; ++c) {
      const auto powers = power(norm.scale(sums[c]));
      const int64_t i = offset + c;
      factors[i] = powers.factor;
      ratios[i] = static_cast<float>(dy[i]) * static_cast<float>(x[i]) * powers.factor * powers.inverse;
    }
  });
  const float weight = 2.0f * norm.alpha * norm.beta;
  const auto ratio = [=](int64_t i) { return ratios[i]; };
  for_each_window(map, norm.reach(), scratch, ratio, [=](int64_t offset, const float* sums) {
#pragma omp simd
    for (int64_t c = 0; c < map.channels; ++c) {
      const int64_t i = offset + c;
      dx[i] = static_cast<float>(dy[i]) * factors[i] - weight * static_cast<float>(x[i]) * sums[c];
    }
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
    with_types(*top[0], [&](auto zero, auto power) {
      using T = decltype(zero);
      const T* x = bottom[0]->data<T>();
      T* y = top[0]->data<T>();
      if (within_)
        within_forward(map_, norm_, power, x, y, scratch);
      else
        across_forward(map_, norm_, power, x, y, scratch);
    });
  }

  void backward(const Context& context, const Blobs& top, const std::vector<bool>& propagate_down,
                const Blobs& bottom) override {
    if (!propagate_down[0]) return;
    auto* scratch = static_cast<float*>(context.scratch->data());
    with_types(*top[0], [&](auto zero, auto power) {
      using T = decltype(zero);
      const T *x = bottom[0]->data<T>(), *dy = top[0]->diff<T>();
      T* dx = bottom[0]->diff<T>();
      if (within_) {
        float* factors = scratch + lines_count();
        within_backward(map_, norm_, power, x, dy, dx, factors, factors + bottom[0]->count(), scratch);
      } else {
        across_backward(map_, norm_, power, x, dy, dx, scratch);
      }
    });
  }

  size_t scratch_bytes() const override {
    const int64_t maps = within_ ? 2 * map_.pixels() * map_.channels : 0;
    return static_cast<size_t>(lines_count() + maps) * sizeof(float);
  }

 private:
  // Calls body(T{}, power).
  template <class Body>
  void with_types(const Blob& blob, Body&& body) const {
    dispatch(blob.dtype(),
             [&](auto zero) { with_power(norm_.beta, [&](auto power) { body(zero, power); }); });
  }

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
