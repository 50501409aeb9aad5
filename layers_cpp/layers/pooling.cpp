// Pooling of x (N, C, H, W) channels-last over windows of (kh, kw) places: maximum, average or a random draw.
//
//   MAX         y = first largest value in row-major order; -FLT_MAX if nothing is larger than that
//   AVE         y = sum / size; zero padding counts, up to `pad` beyond the far border, or it does not
//   STOCHASTIC  training: y = a value drawn with a probability proportional to it
//               testing: y = sum of x^2 / sum of x, 0 where that sum is not positive
//
// An optional second top of MAX holds the place h * W + w of the maximum, -1 for none.
//
// Gradient: MAX and STOCHASTIC give dy to the element that was taken, AVE dy / size to each. Every element of
// dx gathers from the windows over it, so that threads never meet. What was taken is kept as its number
// within the window, in the smallest type that holds it; a net that only tests keeps nothing, and backward
// finds the maxima again. Where the bottom was clipped by a ReLU, MAX takes no element of a window whose
// maximum is not positive: that is backward of the ReLU too, whose layer then need not mask its gradient.
#include "core/error.hpp"
#include "core/parallel.hpp"
#include "core/registry.hpp"
#include "math/philox.hpp"
#include "math/simd.hpp"
#include "math/taken.hpp"

namespace caffe {
namespace {

struct Range {
  int64_t begin, end;
};

// One direction, height or width.
struct Extent {
  int64_t in = 0, out = 0, kernel = 1, stride = 1, pad = 0;
  int64_t border = 0;  // as much of the padding counts in the size of a window

  int64_t start(int64_t o) const { return o * stride - pad; }
  // The part of window `o` that lies inside the image.
  Range window(int64_t o) const { return {std::max<int64_t>(0, start(o)), std::min(start(o) + kernel, in)}; }
  // Length of window `o`, cut where the border ends; not positive if it begins beyond.
  int64_t length(int64_t o) const {
    return std::min(start(o) + kernel, in + border) - std::max(start(o), -border);
  }
  // The windows over place `i`.
  Range windows_over(int64_t i) const {
    const int64_t reached = i + pad;
    return {reached < kernel ? 0 : (reached - kernel) / stride + 1, std::min(reached / stride + 1, out)};
  }
};

struct Geometry {
  int64_t images = 0, channels = 0;
  Extent h, w;

  int64_t in_offset(int64_t n, int64_t y, int64_t x) const { return ((n * h.in + y) * w.in + x) * channels; }
  int64_t out_offset(int64_t n, int64_t y, int64_t x) const {
    return ((n * h.out + y) * w.out + x) * channels;
  }
  int64_t window_size() const { return h.kernel * w.kernel; }
  float area(int64_t y, int64_t x) const { return static_cast<float>(h.length(y) * w.length(x)); }
};

// Calls body(n, row) for every one of `rows` rows an image; `cost` is that of a row, in elements.
template <class Body>
void for_each_row(const Geometry& g, int64_t rows, int64_t cost, Body&& body) {
  const int64_t grain = kElementwiseGrain / std::max<int64_t>(1, cost) + 1;
  parallel_for(g.images * rows, grain, [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row) body(row / rows, row % rows);
  });
}

// Calls body(g, n, oh, ow, offset) for every window, `offset` being that of its first channel in the output.
template <class Body>
void for_each_window(const Geometry& geometry, Body&& body) {
  const int64_t cost = geometry.w.out * geometry.channels * geometry.window_size();
  for_each_row(geometry, geometry.h.out, cost, [&](int64_t n, int64_t oh) {
    const Geometry g = geometry;  // a copy that no store can change, so that it stays in registers
    for (int64_t ow = 0; ow < g.w.out; ++ow) body(g, n, oh, ow, g.out_offset(n, oh, ow));
  });
}

// Calls body(pixel, number) for the elements of window (oh, ow) inside the image: offset of the first
// channel, and the number of the element within the whole window, row-major.
template <class Body>
void for_each_in_window(const Geometry& g, int64_t n, int64_t oh, int64_t ow, Body&& body) {
  const Range rows = g.h.window(oh), columns = g.w.window(ow);
  for (int64_t y = rows.begin; y < rows.end; ++y)
    for (int64_t x = columns.begin; x < columns.end; ++x)
      body(g.in_offset(n, y, x), static_cast<int32_t>((y - g.h.start(oh)) * g.w.kernel + x - g.w.start(ow)));
}

// Writes the maxima to y and the numbers of the elements taken to `taken`; either may be null. Only maxima
// above `floor` are taken.
template <class T, class Number>
void max_forward(const Geometry& geometry, const T* x, float floor, T* y, Number* taken) {
  for_each_window(geometry, [&](const Geometry& g, int64_t n, int64_t oh, int64_t ow, int64_t offset) {
    for_each_group(g.channels, [&](int64_t c, auto vectors, auto lanes) {
      Floats best[vectors];
      Ints number_of_best[vectors];
      const Ints none = broadcast(static_cast<int32_t>(kNone<Number>));
      for (int v = 0; v < vectors; ++v) {
        best[v] = broadcast(lowest<T>());
        number_of_best[v] = none;
      }
      for_each_in_window(g, n, oh, ow, [&](int64_t pixel, int32_t number) {
        for (int v = 0; v < vectors; ++v) {
          const Floats values = load(x + pixel + c + v * kLanes, lanes);
          const Ints larger = values > best[v];
          best[v] = larger ? values : best[v];
          number_of_best[v] = larger ? broadcast(number) : number_of_best[v];
        }
      });
      for (int v = 0; v < vectors; ++v) {
        if (y) store(best[v], y + offset + c + v * kLanes, lanes);
        const Ints number = best[v] > floor ? number_of_best[v] : none;
        if (taken) store(number, taken + offset + c + v * kLanes, lanes);
      }
    });
  });
}

// Numbers within the window to places h * W + w of the image.
template <class Number>
void write_places(const Geometry& geometry, const Number* taken, float* places) {
  for_each_window(geometry, [&](const Geometry& g, int64_t, int64_t oh, int64_t ow, int64_t offset) {
    for (int64_t i = offset; i < offset + g.channels; ++i) {
      const int64_t number = taken[i];
      const int64_t y = g.h.start(oh) + number / g.w.kernel, x = g.w.start(ow) + number % g.w.kernel;
      places[i] = taken[i] == kNone<Number> ? -1.0f : static_cast<float>(y * g.w.in + x);
    }
  });
}

template <class T>
void average_forward(const Geometry& geometry, const T* x, T* y) {
  for_each_window(geometry, [&](const Geometry& g, int64_t n, int64_t oh, int64_t ow, int64_t offset) {
    const float area = std::max(1.0f, g.area(oh, ow));  // a window beyond the padding is empty: 0
    for_each_group(g.channels, [&](int64_t c, auto vectors, auto lanes) {
      Floats sum[vectors] = {};
      for_each_in_window(g, n, oh, ow, [&](int64_t pixel, int32_t) {
        for (int v = 0; v < vectors; ++v) sum[v] += load(x + pixel + c + v * kLanes, lanes);
      });
      for (int v = 0; v < vectors; ++v) store(sum[v] / area, y + offset + c + v * kLanes, lanes);
    });
  });
}

// Draws a threshold in (0, total] and takes the first element where the running sum reaches it.
template <class T, class Number>
void stochastic_train_forward(const Geometry& geometry, const Philox& random, const T* x, T* y,
                              Number* taken) {
  for_each_window(geometry, [&](const Geometry& g, int64_t n, int64_t oh, int64_t ow, int64_t offset) {
    for (int64_t c = 0; c < g.channels; ++c) {
      float total = 0, sum = 0;
      for_each_in_window(g, n, oh, ow,
                         [&](int64_t pixel, int32_t) { total += static_cast<float>(x[pixel + c]); });
      const auto element = static_cast<uint64_t>(offset + c);
      const float threshold = total * (1.0f - uniform01(random(element / 4)[element % 4]));
      y[element] = 0.0f;
      taken[element] = kNone<Number>;
      for_each_in_window(g, n, oh, ow, [&](int64_t pixel, int32_t number) {
        sum += static_cast<float>(x[pixel + c]);
        if (taken[element] != kNone<Number> || !(sum >= threshold)) return;
        taken[element] = static_cast<Number>(number);
        y[element] = x[pixel + c];
      });
    }
  });
}

template <class T>
void stochastic_test_forward(const Geometry& geometry, const T* x, T* y) {
  for_each_window(geometry, [&](const Geometry& g, int64_t n, int64_t oh, int64_t ow, int64_t offset) {
    for (int64_t c = 0; c < g.channels; ++c) {
      float sum = 0, squares = 0;
      for_each_in_window(g, n, oh, ow, [&](int64_t pixel, int32_t) {
        const float value = x[pixel + c];
        sum += value;
        squares += value * value;
      });
      y[offset + c] = sum > 0 ? squares / sum : 0.0f;
    }
  });
}

// dx of every place = the sum over the windows over it of term(offset, lanes), where term = window(oh, ow,
// number), `number` is that of the place within the window, and `offset` that of an output.
template <class T, class Window>
void gather(const Geometry& geometry, T* dx, Window&& window) {
  std::vector<Range> windows_over(static_cast<size_t>(geometry.w.in));
  for (int64_t x = 0; x < geometry.w.in; ++x) windows_over[x] = geometry.w.windows_over(x);
  const Range* over = windows_over.data();
  for_each_row(geometry, geometry.h.in, geometry.w.in * geometry.channels, [&](int64_t n, int64_t y) {
    const Geometry g = geometry;  // a copy that no store can change, so that it stays in registers
    const Range rows = g.h.windows_over(y);
    for (int64_t x = 0; x < g.w.in; ++x) {
      const Range columns = over[x];
      T* to = dx + g.in_offset(n, y, x);
      for_each_group(g.channels, [&](int64_t c, auto vectors, auto lanes) {
        Floats sum[vectors] = {};
        for (int64_t oh = rows.begin; oh < rows.end; ++oh)
          for (int64_t ow = columns.begin; ow < columns.end; ++ow) {
            const int64_t number = (y - g.h.start(oh)) * g.w.kernel + x - g.w.start(ow);
            const auto term = window(oh, ow, static_cast<int32_t>(number));
            const int64_t offset = g.out_offset(n, oh, ow) + c;
            for (int v = 0; v < vectors; ++v) sum[v] += term(offset + v * kLanes, lanes);
          }
        for (int v = 0; v < vectors; ++v) store(sum[v], to + c + v * kLanes, lanes);
      });
    }
  });
}

// The same where windows lie side by side: each writes its own places, so that it is read once.
template <class T, class Number>
void scatter_to_taken(const Geometry& geometry, const T* dy, const Number* taken, T* dx) {
  for_each_row(geometry, geometry.h.out, geometry.h.stride * geometry.w.in * geometry.channels,
               [&](int64_t n, int64_t oh) {
                 const Geometry g = geometry;
                 for (int64_t ow = 0; ow < g.w.out; ++ow) {
                   const int64_t offset = g.out_offset(n, oh, ow);
                   for_each_group(g.channels, [&](int64_t c, auto vectors, auto lanes) {
                     Floats gradient[vectors];
                     Ints number_taken[vectors];
                     for (int v = 0; v < vectors; ++v) {
                       gradient[v] = load(dy + offset + c + v * kLanes, lanes);
                       number_taken[v] = load(taken + offset + c + v * kLanes, lanes);
                     }
                     for_each_in_window(g, n, oh, ow, [&](int64_t pixel, int32_t number) {
                       for (int v = 0; v < vectors; ++v)
                         store(number_taken[v] == number ? gradient[v] : Floats{},
                               dx + pixel + c + v * kLanes, lanes);
                     });
                   });
                 }
               });
}

// Whether every place lies in exactly one window.
bool tiled(const Extent& e) { return e.kernel == e.stride && e.window(e.out - 1).end == e.in; }

template <class T, class Number>
void backward_to_taken(const Geometry& g, const T* dy, const Number* taken, T* dx) {
  if (tiled(g.h) && tiled(g.w)) return scatter_to_taken(g, dy, taken, dx);
  gather(g, dx, [=](int64_t, int64_t, int32_t number) {
    return [=](int64_t offset, auto lanes) {
      const Floats gradient = load(dy + offset, lanes);
      return load(taken + offset, lanes) == number ? gradient : Floats{};
    };
  });
}

template <class T>
void average_backward(const Geometry& g, const T* dy, T* dx) {
  gather(g, dx, [=, &g](int64_t oh, int64_t ow, int32_t) {
    const float share = 1.0f / g.area(oh, ow);
    return [=](int64_t offset, auto lanes) { return share * load(dy + offset, lanes); };
  });
}

int64_t divide_up(int64_t a, int64_t b) { return a > 0 ? (a + b - 1) / b : -(-a / b); }
int64_t divide_down(int64_t a, int64_t b) { return a >= 0 ? a / b : -divide_up(-a, b); }

class PoolingLayer : public Layer {
 public:
  explicit PoolingLayer(const Args& args)
      : method_(args.text("method")),
        kernel_(args.integers("kernel")),
        stride_(args.integers("stride")),
        pad_(args.integers("pad")),
        global_(args.flag("global")),
        round_up_(args.flag("round_up")),
        padding_counts_(args.flag("padding_counts")),
        writes_places_(args.flag("places")),
        relu_below_(args.flag("relu_below")),
        training_(args.flag("training")) {}

  std::vector<Shape> top_shapes(const std::vector<Shape>& bottoms) const override {
    const Geometry g = geometry(bottoms[0]);
    const Shape top = {g.images, g.channels, g.h.out, g.w.out};
    return std::vector<Shape>(writes_places_ ? 2 : 1, top);
  }

  void reshape(const Blobs& bottom, const Blobs& top) override {
    geometry_ = geometry(bottom[0]->shape());
    if (writes_places_ && top[1]->dtype() == DType::bfloat16)
      throw ConfigError("places of maxima do not fit into bfloat16; run this net in float32");
    taken_.reserve(taken_bytes());
  }

  void forward(const Context& context, const Blobs& bottom, const Blobs& top) override {
    with_types(*top[0], [&](auto zero, auto number) {
      using T = decltype(zero);
      using Number = decltype(number);
      const T* x = bottom[0]->data<T>();
      T* y = top[0]->data<T>();
      auto* taken = keeps_taken() ? static_cast<Number*>(taken_.data()) : nullptr;
      if (method_ == "max")
        max_forward(geometry_, x, floor<T>(), y, taken);
      else if (method_ == "average")
        average_forward(geometry_, x, y);
      else if (training_)
        stochastic_train_forward(geometry_, Philox(context.seed, stream, context.iteration), x, y, taken);
      else
        stochastic_test_forward(geometry_, x, y);
      if (writes_places_) write_places(geometry_, taken, top[1]->data());
    });
  }

  void backward(const Context&, const Blobs& top, const std::vector<bool>& propagate_down,
                const Blobs& bottom) override {
    if (!propagate_down[0]) return;
    if (method_ == "stochastic" && !training_)
      throw ConfigError("STOCHASTIC has a gradient in phase TRAIN only");
    with_types(*top[0], [&](auto zero, auto number) {
      using T = decltype(zero);
      using Number = decltype(number);
      const T* dy = top[0]->diff<T>();
      T* dx = bottom[0]->diff<T>();
      if (method_ == "average") return average_backward(geometry_, dy, dx);
      auto* taken = static_cast<Number*>(taken_.data());
      if (!keeps_taken())
        max_forward(geometry_, bottom[0]->data<T>(), floor<T>(), static_cast<T*>(nullptr), taken);
      backward_to_taken(geometry_, dy, taken, dx);
    });
  }

  size_t private_bytes(bool training) const override { return keeps_taken() || training ? taken_bytes() : 0; }

 private:
  // Calls body(T{}, Number{}) with the types of the blob's elements and of the numbers kept.
  template <class Body>
  void with_types(const Blob& blob, Body&& body) const {
    dispatch(blob.dtype(), [&](auto zero) {
      if (number_bytes() == 1)
        body(zero, uint8_t{});
      else
        body(zero, uint32_t{});
    });
  }

  // A maximum gets a gradient if it is larger.
  template <class T>
  float floor() const {
    return relu_below_ ? 0.0f : lowest<T>();
  }

  // Whether forward writes down which elements were taken.
  bool keeps_taken() const { return method_ != "average" && (training_ || writes_places_); }
  size_t number_bytes() const { return geometry_.window_size() <= kNone<uint8_t> ? 1 : 4; }
  size_t taken_bytes() const {
    if (method_ == "average" || (method_ == "stochastic" && !training_)) return 0;
    const Geometry& g = geometry_;
    return static_cast<size_t>(g.images * g.channels * g.h.out * g.w.out) * number_bytes();
  }

  Geometry geometry(const Shape& bottom) const {
    if (bottom.size() != 4)
      throw ShapeError(message("the bottom must have 4 axes (N, C, H, W), got ", to_string(bottom)));
    Geometry g{bottom[0], bottom[1], extent(bottom[2], 0), extent(bottom[3], 1)};
    if (g.h.out < 1 || g.w.out < 1)
      throw ShapeError(message("a window of ", g.h.kernel, " x ", g.w.kernel, " does not fit on bottom ",
                               to_string(bottom), " with pad ", g.h.pad, ", ", g.w.pad));
    if (g.h.kernel > kMaxCount / g.w.kernel)
      throw ShapeError(
          message("a window of ", g.h.kernel, " x ", g.w.kernel, " has more than 2^31 - 1 elements"));
    return g;
  }

  Extent extent(int64_t in, size_t direction) const {
    if (global_) return {in, in > 0 ? 1 : 0, std::max<int64_t>(1, in), 1, 0};
    Extent e{in, 0, kernel_[direction], stride_[direction], pad_[direction]};
    e.border = padding_counts_ ? e.pad : 0;
    const int64_t room = in + 2 * e.pad - e.kernel;
    e.out = (round_up_ ? divide_up(room, e.stride) : divide_down(room, e.stride)) + 1;
    // With padding, the last window must begin inside the image or the padding before it.
    const bool padded = pad_[0] > 0 || pad_[1] > 0;
    if (padded && (e.out - 1) * e.stride >= in + e.pad) --e.out;
    return e;
  }

  const std::string method_;  // max, average or stochastic
  const std::vector<int64_t> kernel_, stride_, pad_;
  const bool global_, round_up_, padding_counts_, writes_places_, relu_below_, training_;
  Geometry geometry_;
  Storage taken_;
};

REGISTER_LAYER("Pooling", cpu, PoolingLayer);

}  // namespace
}  // namespace caffe
