// The kernels walk down an image row by row. Each row of the input is read once, into a window of rows that
// stays in the thread's cache: as float32, with zeros where the kernel reaches beyond the border and whole
// vectors of channels, so that the arithmetic knows neither borders nor types nor tails.
//
// Both y and dx are correlations of a window with a grid of taps. For dx, the places of a row that are
// `stride` apart see the same taps, so each such phase is a correlation of its own.
#include "math/depthwise.hpp"

#include <array>
#include <numeric>

#include "core/parallel.hpp"
#include "math/simd.hpp"

namespace caffe {
namespace {

constexpr int64_t kMaxKernel = 32;               // taps along one direction
constexpr int64_t kMaxWindow = 4 * 1024 * 1024;  // bytes

int64_t divide_down(int64_t a, int64_t b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }
int64_t divide_up(int64_t a, int64_t b) { return -divide_down(-a, b); }

int64_t padded(int64_t channels) { return (channels + kLanes - 1) / kLanes * kLanes; }

// Floats between two pixels of a window. Not a high power of two: columns would meet in few sets of the
// cache.
int64_t pixel_stride(int64_t channels) {
  return padded(channels) + (padded(channels) % 128 == 0 ? kLanes : 0);
}

// `columns` columns of `rows` rows of a map of height x width pixels, beginning at column `first`. It moves
// on by `advance` rows at a time.
struct WindowShape {
  int64_t height, width, channels, rows, first, columns, advance;

  int64_t pixel() const { return pixel_stride(channels); }
  int64_t row() const { return columns * pixel(); }
  int64_t size() const { return rows * row(); }
};

// What y[p] depends on: x of p * stride - pad and on.
WindowShape input_window(const DepthwiseShape& s) {
  const auto extent = [](const DepthwiseAxis& axis) { return (axis.kernel - 1) * axis.dilation + 1; };
  return {s.h.in,    s.w.in, s.channels, extent(s.h), -s.w.pad, (s.w.out - 1) * s.w.stride + extent(s.w),
          s.h.stride};
}

// What dx[i] depends on: dy of (i + pad - q * dilation) / stride.
WindowShape output_window(const DepthwiseShape& s) {
  const auto reach = [](const DepthwiseAxis& axis) { return (axis.kernel - 1) * axis.dilation; };
  const int64_t first = divide_up(s.w.pad - reach(s.w), s.w.stride);
  const int64_t last = divide_down(s.w.in - 1 + s.w.pad, s.w.stride);
  return {s.h.out, s.w.out, s.channels, reach(s.h) / s.h.stride + 1, first, last - first + 1, 1};
}

// Copies pixels of C channels to where they have `stride` floats each. What lies between is left alone.
template <class T>
void copy_pixels(const T* from, int64_t pixels, int64_t channels, float* to, int64_t stride) {
  if (stride == channels) {
    channels *= pixels;
    pixels = 1;
  }
  for (int64_t pixel = 0; pixel < pixels; ++pixel, from += channels, to += stride) {
    int64_t c = 0;
    for (; c + kLanes <= channels; c += kLanes) store(load(from + c, kAllLanes), to + c, kAllLanes);
    if (c < channels) store(load(from + c, static_cast<int>(channels - c)), to + c, kAllLanes);
  }
}

// Fetches values that will be read soon.
template <class T>
void prefetch(const T* from, int64_t count) {
  constexpr int64_t kLine = 64 / sizeof(T);  // of cache
  for (int64_t i = 0; i < count; i += kLine) __builtin_prefetch(from + i, 0, 2);
}

// The last rows of one image, kept in a ring.
template <class T>
class Window {
 public:
  Window(const WindowShape& shape, float* memory) : shape_(shape), memory_(memory) {
    std::fill_n(memory, shape.size(), 0.0f);
  }

  void enter(const T* image) {
    image_ = image;
    next_ = 0;
  }
  // Reads the rows [begin, end) that are not here yet, and fetches those that are next, so that they arrive
  // while these are computed with.
  void reach(int64_t begin, int64_t end) {
    if (end <= next_) return;
    const WindowShape& s = shape_;
    const int64_t line = s.width * s.channels;
    const int64_t left = std::max<int64_t>(0, s.first), right = std::min(s.width, s.first + s.columns);
    if (left >= right) return;
    for (next_ = std::max(next_, begin); next_ < end; ++next_)
      copy_pixels(image_ + next_ * line + left * s.channels, right - left, s.channels, at(next_, left),
                  s.pixel());
    prefetch(image_ + end * line, (std::min(end + s.advance, s.height) - end) * line);
  }
  float* at(int64_t row, int64_t column) const {
    return memory_ + row % shape_.rows * shape_.row() + (column - shape_.first) * shape_.pixel();
  }

 private:
  const WindowShape shape_;
  float* memory_;
  const T* image_ = nullptr;
  int64_t next_ = 0;
};

// W (C, kh, kw) as (kh, kw, padded C).
void pack(const DepthwiseShape& shape, const float* weights, float* packed) {
  const int64_t taps = shape.h.kernel * shape.w.kernel, channels = padded(shape.channels);
  for (int64_t tap = 0; tap < taps; ++tap) {
    for (int64_t c = 0; c < shape.channels; ++c) packed[tap * channels + c] = weights[c * taps + tap];
    std::fill(packed + tap * channels + shape.channels, packed + (tap + 1) * channels, 0.0f);
  }
}

// A grid of taps: `count` pairs of input and weight rows, and in each row `columns` taps.
struct Taps {
  std::array<const float*, kMaxKernel> inputs, weights;
  int64_t count = 0, columns = 0;
  int64_t input_step = 0, weight_step = 0;  // from a tap to the next one in its row

  void add_row(const float* input, const float* weight) {
    inputs[count] = input;
    weights[count++] = weight;
  }
};

// The outputs of one row, `output_step` values apart; their inputs are `input_step` floats apart.
struct Line {
  int64_t pixels, channels, input_step, output_step;
  const float* bias;
  bool relu;
};

// Adds the taps of one row, at kPixels outputs. `input` and `weight` are those of the first tap.
template <int kPixels>
void add_row(const Taps& taps, const Line& line, const float* input, const float* weight, Floats* sum) {
  for (int64_t column = 0; column < taps.columns; ++column) {
    const Floats factor = load(weight, kAllLanes);
    for (int pixel = 0; pixel < kPixels; ++pixel)
      sum[pixel] += factor * load(input + pixel * line.input_step, kAllLanes);
    input += taps.input_step;
    weight += taps.weight_step;
  }
}

// The same for three taps side by side and outputs of the same distance: every input is loaded once.
template <int kPixels>
void add_row_of_3(const Taps& taps, const float* input, const float* weight, Floats* sum) {
  Floats factor[3];
  for (int tap = 0; tap < 3; ++tap) factor[tap] = load(weight + tap * taps.weight_step, kAllLanes);
#pragma GCC unroll 16
  for (int place = 0; place < kPixels + 2; ++place) {
    const Floats value = load(input + place * taps.input_step, kAllLanes);
#pragma GCC unroll 3
    for (int tap = 0; tap < 3; ++tap)
      if (place >= tap && place < tap + kPixels) sum[place - tap] += factor[tap] * value;
  }
}

// kPixels outputs from pixel `start` on, a vector of channels at a time.
template <int kPixels, bool kThree, class T>
void correlate_strip(const Taps& taps, const Line& line, int64_t start, T* to) {
  const int64_t first = start * line.input_step;
  for_each_vector(line.channels, [&](int64_t c, auto lanes) {
    Floats sum[kPixels];
    for (int pixel = 0; pixel < kPixels; ++pixel) sum[pixel] = load(line.bias + c, kAllLanes);
    for (int64_t row = 0; row < taps.count; ++row) {
      const float *input = taps.inputs[row] + first + c, *weight = taps.weights[row] + c;
      if constexpr (kThree)
        add_row_of_3<kPixels>(taps, input, weight, sum);
      else
        add_row<kPixels>(taps, line, input, weight, sum);
    }
    if (line.relu)
      for (int pixel = 0; pixel < kPixels; ++pixel) sum[pixel] = sum[pixel] < 0.0f ? Floats{} : sum[pixel];
    T* place = to + start * line.output_step + c;
    for (int pixel = 0; pixel < kPixels; ++pixel) store(sum[pixel], place + pixel * line.output_step, lanes);
  });
}

template <bool kThree, class T>
void correlate_line(const Taps& taps, const Line& line, T* to) {
  int64_t start = 0;
  for (; start + 7 <= line.pixels; start += 7) correlate_strip<7, kThree>(taps, line, start, to);
  for (; start + 4 <= line.pixels; start += 4) correlate_strip<4, kThree>(taps, line, start, to);
  for (; start < line.pixels; ++start) correlate_strip<1, kThree>(taps, line, start, to);
}

template <class T>
void correlate(const Taps& taps, const Line& line, T* to) {
  if (taps.columns == 3 && line.input_step == taps.input_step)
    correlate_line<true>(taps, line, to);
  else
    correlate_line<false>(taps, line, to);
}

// Calls body(begin, end, thread) on pieces of the `rows` rows of all images.
template <class Body>
void parallel_for_rows(const DepthwiseShape& s, int64_t rows, Body&& body) {
  const int64_t cost = std::max<int64_t>(1, s.w.in * s.channels);
  parallel_for(s.images * rows, kElementwiseGrain / cost + 1, std::forward<Body>(body));
}

}  // namespace

bool depthwise_supports(const DepthwiseShape& s) {
  const int64_t window = std::max(input_window(s).size(), output_window(s).size()) * 4;
  return s.h.kernel <= kMaxKernel && s.w.kernel <= kMaxKernel && window <= kMaxWindow;
}

int64_t depthwise_scratch(const DepthwiseShape& s) {
  const int64_t weights = (s.h.kernel * s.w.kernel + 1) * padded(s.channels);
  const int64_t window = std::max(input_window(s).size(), output_window(s).size());
  return weights + max_threads() * (weights + window);
}

template <class T>
void depthwise_forward(const DepthwiseShape& s, const T* x, const float* weights, const float* bias,
                       bool relu, T* y, float* scratch) {
  const WindowShape shape = input_window(s);
  const int64_t channels = padded(s.channels), taps = s.h.kernel * s.w.kernel;
  float* packed = scratch;
  pack(s, weights, packed);
  float* packed_bias = packed + taps * channels;
  std::fill_n(packed_bias, channels, 0.0f);
  if (bias) std::copy_n(bias, s.channels, packed_bias);
  float* windows = packed_bias + channels;
  const Line line{s.w.out, s.channels, s.w.stride * shape.pixel(), s.channels, packed_bias, relu};

  parallel_for_rows(s, s.h.out, [&](int64_t begin, int64_t end, int thread) {
    Window<T> window(shape, windows + thread * shape.size());
    Taps grid;
    grid.columns = s.w.kernel;
    grid.input_step = s.w.dilation * shape.pixel();
    grid.weight_step = channels;
    for (int64_t piece = begin; piece < end; ++piece) {
      const int64_t n = piece / s.h.out, row = piece % s.h.out;
      if (piece == begin || row == 0) window.enter(x + n * s.h.in * s.w.in * s.channels);
      const int64_t top = row * s.h.stride - s.h.pad;
      window.reach(std::max<int64_t>(0, top), std::min(top + shape.rows, s.h.in));
      grid.count = 0;
      for (int64_t q = 0; q < s.h.kernel; ++q) {
        const int64_t place = top + q * s.h.dilation;
        if (place >= 0 && place < s.h.in)
          grid.add_row(window.at(place, shape.first), packed + q * s.w.kernel * channels);
      }
      correlate(grid, line, y + piece * s.w.out * s.channels);
    }
  });
}

template <class T>
void depthwise_backward_data(const DepthwiseShape& s, const T* dy, const float* weights, T* dx,
                             float* scratch) {
  const WindowShape shape = output_window(s);
  const int64_t channels = padded(s.channels), taps = s.h.kernel * s.w.kernel;
  float* packed = scratch;
  pack(s, weights, packed);
  float *zeros = packed + taps * channels, *windows = zeros + channels;
  std::fill_n(zeros, channels, 0.0f);
  // Of the taps along one direction, every `period`-th meets the same phase, `shift` places before.
  const int64_t common = std::gcd(s.w.stride, s.w.dilation);
  const int64_t period = s.w.stride / common, shift = s.w.dilation / common;

  parallel_for_rows(s, s.h.in, [&](int64_t begin, int64_t end, int thread) {
    Window<T> window(shape, windows + thread * shape.size());
    for (int64_t piece = begin; piece < end; ++piece) {
      const int64_t n = piece / s.h.in, row = piece % s.h.in;
      if (piece == begin || row == 0) window.enter(dy + n * s.h.out * s.w.out * s.channels);
      const int64_t bottom = row + s.h.pad, reach = (s.h.kernel - 1) * s.h.dilation;
      const int64_t last = std::min(bottom / s.h.stride + 1, s.h.out);
      window.reach(std::max<int64_t>(0, divide_up(bottom - reach, s.h.stride)), last);
      for (int64_t phase = 0; phase < std::min(s.w.stride, s.w.in); ++phase) {
        Taps grid;
        // In the order of dy, which is against that of the kernel.
        grid.input_step = shift * shape.pixel();
        grid.weight_step = -period * channels;
        int64_t q_first = 0;
        while (q_first < period && (phase + s.w.pad - q_first * s.w.dilation) % s.w.stride != 0) ++q_first;
        grid.columns = q_first < period ? divide_up(s.w.kernel - q_first, period) : 0;
        const int64_t q_last = q_first + (grid.columns - 1) * period;
        const int64_t column = divide_down(phase + s.w.pad - q_last * s.w.dilation, s.w.stride);
        if (grid.columns > 0)
          for (int64_t q = 0; q < s.h.kernel; ++q) {
            const int64_t place = bottom - q * s.h.dilation;
            if (place < 0 || place % s.h.stride != 0 || place / s.h.stride >= s.h.out) continue;
            grid.add_row(window.at(place / s.h.stride, column),
                         packed + (q * s.w.kernel + q_last) * channels);
          }
        const int64_t pixels = (s.w.in - phase + s.w.stride - 1) / s.w.stride;
        const Line line{pixels, s.channels, shape.pixel(), s.w.stride * s.channels, zeros, false};
        correlate(grid, line, dx + (piece * s.w.in + phase) * s.channels);
      }
    }
  });
}

namespace {

// What one tap learns from a row: sums[c] += dy[p, c] * input[p, c] over p.
struct TapSum {
  const float* input;
  float* sums;
};

// kTaps taps at a time keep their sums in registers. `step`: floats from one input of a tap to the next.
template <int kTaps, class T>
void learn_taps(const TapSum* taps, const T* dy, int64_t pixels, int64_t channels, int64_t step) {
  for_each_vector(channels, [&](int64_t c, auto lanes) {
    const float* inputs[kTaps];
    for (int tap = 0; tap < kTaps; ++tap) inputs[tap] = taps[tap].input + c;
    Floats sums[kTaps] = {};
    for (int64_t pixel = 0; pixel < pixels; ++pixel) {
      const Floats gradient = load(dy + pixel * channels + c, lanes);
      for (int tap = 0; tap < kTaps; ++tap)
        sums[tap] += gradient * load(inputs[tap] + pixel * step, kAllLanes);
    }
    for (int tap = 0; tap < kTaps; ++tap) {
      float* to = taps[tap].sums + c;
      store(load(to, kAllLanes) + sums[tap], to, kAllLanes);
    }
  });
}

// sums[c] += dy[p, c] over p
template <class T>
void add_pixels(const T* dy, int64_t pixels, int64_t channels, float* sums) {
  for_each_vector(channels, [&](int64_t c, auto lanes) {
    Floats sum{};
    for (int64_t pixel = 0; pixel < pixels; ++pixel) sum += load(dy + pixel * channels + c, lanes);
    store(load(sums + c, kAllLanes) + sum, sums + c, kAllLanes);
  });
}

}  // namespace

template <class T>
void depthwise_backward_weights(const DepthwiseShape& s, const T* x, const T* dy, float* dw, float* db,
                                float* scratch) {
  const WindowShape shape = input_window(s);
  const int64_t channels = padded(s.channels), taps = s.h.kernel * s.w.kernel;
  const int64_t sums_size = (taps + 1) * channels, line = s.w.out * s.channels;
  float *partials = scratch, *windows = partials + max_threads() * sums_size;
  std::fill_n(partials, max_threads() * sums_size, 0.0f);

  parallel_for_rows(s, s.h.out, [&](int64_t begin, int64_t end, int thread) {
    Window<T> window(shape, windows + thread * shape.size());
    float* sums = partials + thread * sums_size;
    std::array<TapSum, kMaxKernel * kMaxKernel> learning;
    for (int64_t piece = begin; piece < end; ++piece) {
      const int64_t n = piece / s.h.out, row = piece % s.h.out;
      if (piece == begin || row == 0) window.enter(x + n * s.h.in * s.w.in * s.channels);
      const int64_t top = row * s.h.stride - s.h.pad;
      window.reach(std::max<int64_t>(0, top), std::min(top + shape.rows, s.h.in));
      const T* gradients = dy + piece * line;
      if (piece + 1 < end) prefetch(gradients + line, line);
      int64_t count = 0;
      for (int64_t q = 0; q < taps; ++q) {
        const int64_t place = top + q / s.w.kernel * s.h.dilation;
        if (place >= 0 && place < s.h.in)
          learning[count++] = {window.at(place, shape.first + q % s.w.kernel * s.w.dilation),
                               sums + q * channels};
      }
      const int64_t step = s.w.stride * shape.pixel();
      int64_t tap = 0;
      for (; tap + 9 <= count; tap += 9) learn_taps<9>(&learning[tap], gradients, s.w.out, s.channels, step);
      for (; tap + 3 <= count; tap += 3) learn_taps<3>(&learning[tap], gradients, s.w.out, s.channels, step);
      for (; tap < count; ++tap) learn_taps<1>(&learning[tap], gradients, s.w.out, s.channels, step);
      if (db) add_pixels(gradients, s.w.out, s.channels, sums + taps * channels);
    }
  });

  for (int thread = 1; thread < max_threads(); ++thread) {
    const float* theirs = partials + thread * sums_size;
#pragma omp simd
    for (int64_t i = 0; i < sums_size; ++i) partials[i] += theirs[i];
  }
  for (int64_t c = 0; c < s.channels; ++c)
    for (int64_t tap = 0; tap < taps; ++tap) dw[c * taps + tap] = partials[tap * channels + c];
  if (db) std::copy_n(partials + taps * channels, s.channels, db);
}

template void depthwise_forward(const DepthwiseShape&, const float*, const float*, const float*, bool, float*,
                                float*);
template void depthwise_forward(const DepthwiseShape&, const bfloat16*, const float*, const float*, bool,
                                bfloat16*, float*);
template void depthwise_backward_data(const DepthwiseShape&, const float*, const float*, float*, float*);
template void depthwise_backward_data(const DepthwiseShape&, const bfloat16*, const float*, bfloat16*,
                                      float*);
template void depthwise_backward_weights(const DepthwiseShape&, const float*, const float*, float*, float*,
                                         float*);
template void depthwise_backward_weights(const DepthwiseShape&, const bfloat16*, const bfloat16*, float*,
                                         float*, float*);

}  // namespace caffe
