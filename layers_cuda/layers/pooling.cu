// Pooling on the GPU; formulas and gradients as in layers_cpp/layers/pooling.cpp.
//
// Forward, a thread makes 16 bytes of the output: some channels of a place, from those of the window, which
// neighbours find in the cache. Backward, it makes 16 bytes of dx and looks at the windows over its place.
// Windows of 2 x 2 and 3 x 3, and places below at most 3 x 3 windows, are unrolled, so that all reads are
// under way at once. A plain map is one of single channels.
#include <algorithm>
#include <cfloat>
#include <type_traits>

#include "core/cuda_layer.hpp"
#include "core/division.hpp"
#include "core/launch.hpp"
#include "core/pack.hpp"
#include "math/philox.hpp"

namespace caffe::cuda {
namespace {

constexpr int kThreads = 128;

struct Range {
  int begin, end;
};

// One direction, height or width.
struct Extent {
  int in = 0, out = 0, kernel = 1, stride = 1, pad = 0;
  Divisor by_in{}, by_out{}, by_stride{};

  __device__ int start(int o) const { return o * stride - pad; }
  // The part of window `o` that lies inside the image.
  __device__ Range window(int o) const { return {max(0, start(o)), min(start(o) + kernel, in)}; }
  // Length of window `o`, cut where the padding ends; not positive if it begins beyond.
  __device__ int length(int o) const { return min(start(o) + kernel, in + pad) - start(o); }
  // The windows over place `i`.
  __device__ Range windows_over(int i) const {
    const int reached = i + pad;
    const int first = reached < kernel ? 0 : static_cast<int>(by_stride.quotient(reached - kernel)) + 1;
    return {first, min(static_cast<int>(by_stride.quotient(reached)) + 1, out)};
  }
  __device__ bool inside(int i) const { return static_cast<unsigned>(i) < static_cast<unsigned>(in); }
};

struct Geometry {
  int images = 0, channels = 0;
  Extent h, w;
  Divisor by_packs{};  // packs of channels a place

  __device__ int in_offset(int n, int y, int x) const { return ((n * h.in + y) * w.in + x) * channels; }
  __device__ int out_offset(int n, int y, int x) const { return ((n * h.out + y) * w.out + x) * channels; }
  // Of place (y, x) within the whole window (oh, ow), row-major.
  __device__ int number(int oh, int ow, int y, int x) const {
    return (y - h.start(oh)) * w.kernel + x - w.start(ow);
  }
  __device__ float area(int oh, int ow) const { return static_cast<float>(h.length(oh) * w.length(ow)); }
};

// Where a thread works: image, row, column, first channel.
struct Place {
  int n, y, x, c;
};

template <int kCount>
__device__ Place place_of(uint32_t item, const Divisor& packs, const Divisor& width, const Divisor& height) {
  Place place;
  place.c = static_cast<int>(packs.split(item)) * kCount;
  place.x = static_cast<int>(width.split(item));
  place.y = static_cast<int>(height.split(item));
  place.n = static_cast<int>(item);
  return place;
}

__device__ uint32_t item_of_thread() { return blockIdx.x * kThreads + threadIdx.x; }

// Calls body(offset, number) for the elements of window (oh, ow) inside the image: that of the first channel,
// and the number of the element within the whole window.
template <class Body>
__device__ void for_each_in_window(const Geometry& g, int n, int oh, int ow, Body body) {
  const Range rows = g.h.window(oh), columns = g.w.window(ow);
  for (int y = rows.begin; y < rows.end; ++y)
    for (int x = columns.begin; x < columns.end; ++x) body(g.in_offset(n, y, x), g.number(oh, ow, y, x));
}

// -FLT_MAX, which would round to -infinity in bfloat16.
template <class T>
__device__ float lowest() {
  return std::is_same_v<T, float> ? -FLT_MAX : __uint_as_float(0xff7f0000u);
}

// Number of the element taken, for outputs that took none.
template <class Number>
constexpr Number kNone = static_cast<Number>(-1);

// The maximum of some channels so far, and where it is.
template <class T, class Number, int kCount>
struct Maximum {
  float best[kCount];
  int number[kCount];

  __device__ Maximum() {
#pragma unroll
    for (int k = 0; k < kCount; ++k) {
      best[k] = lowest<T>();
      number[k] = static_cast<int>(kNone<Number>);
    }
  }
  __device__ void take(const Pack<T, kCount>& values, int place) {
#pragma unroll
    for (int k = 0; k < kCount; ++k) {
      const float value = values.at[k];
      if (!(value > best[k])) continue;
      best[k] = value;
      number[k] = place;
    }
  }
  __device__ void store(T* y) const {
    Pack<T, kCount> pack;
#pragma unroll
    for (int k = 0; k < kCount; ++k) pack.at[k] = best[k];
    store_pack(y, pack);
  }
  // Only maxima above `floor` are taken.
  __device__ void store_numbers(float floor, Number* taken) const {
    Pack<Number, kCount> pack;
#pragma unroll
    for (int k = 0; k < kCount; ++k)
      pack.at[k] = best[k] > floor ? static_cast<Number>(number[k]) : kNone<Number>;
    store_pack(taken, pack);
  }
};

// A pack that is no maximum.
template <class T, int kCount>
__device__ Pack<T, kCount> nothing() {
  Pack<T, kCount> pack;
#pragma unroll
  for (int k = 0; k < kCount; ++k) pack.at[k] = -INFINITY;
  return pack;
}

// x: (images, h.in, w.in, channels), y, taken: (images, h.out, w.out, channels); one thread for each of
// `items` packs of y. Either of y and taken may be null. kWindow: side of the window, 0 for any.
template <int kWindow, int kCount, class T, class Number>
__global__ void max_pooling_forward_kernel(Geometry g, uint32_t items, const T* x, float floor, T* y,
                                           Number* taken) {
  if (item_of_thread() >= items) return;
  const Place to = place_of<kCount>(item_of_thread(), g.by_packs, g.w.by_out, g.h.by_out);
  Maximum<T, Number, kCount> maximum;
  if constexpr (kWindow > 0) {
    Pack<T, kCount> values[kWindow * kWindow];
#pragma unroll
    for (int i = 0; i < kWindow * kWindow; ++i) {
      const int row = g.h.start(to.y) + i / kWindow, column = g.w.start(to.x) + i % kWindow;
      values[i] = nothing<T, kCount>();
      if (g.h.inside(row) && g.w.inside(column))
        values[i] = load_pack<T, kCount>(x + g.in_offset(to.n, row, column) + to.c);
    }
#pragma unroll
    for (int i = 0; i < kWindow * kWindow; ++i) maximum.take(values[i], i);
  } else {
    for_each_in_window(g, to.n, to.y, to.x, [&](int offset, int number) {
      maximum.take(load_pack<T, kCount>(x + offset + to.c), number);
    });
  }
  const int offset = g.out_offset(to.n, to.y, to.x) + to.c;
  if (y) maximum.store(y + offset);
  if (taken) maximum.store_numbers(floor, taken + offset);
}

// taken, places: (images, h.out, w.out, channels). Numbers within the window to places h * W + w of the
// image.
template <class Number>
__global__ void pooling_places_kernel(Geometry g, uint32_t items, const Number* taken, float* places) {
  const uint32_t item = item_of_thread();
  if (item >= items) return;
  const Place to = place_of<1>(item, g.by_packs, g.w.by_out, g.h.by_out);
  const int number = static_cast<int>(taken[item]);
  const int y = g.h.start(to.y) + number / g.w.kernel, x = g.w.start(to.x) + number % g.w.kernel;
  places[item] = taken[item] == kNone<Number> ? -1.0f : static_cast<float>(y * g.w.in + x);
}

// x: (images, h.in, w.in, channels), y: (images, h.out, w.out, channels); one thread for each pack of y.
template <int kCount, class T>
__global__ void average_pooling_forward_kernel(Geometry g, uint32_t items, const T* x, T* y) {
  if (item_of_thread() >= items) return;
  const Place to = place_of<kCount>(item_of_thread(), g.by_packs, g.w.by_out, g.h.by_out);
  const Range rows = g.h.window(to.y), columns = g.w.window(to.x);
  int height = rows.end - rows.begin, width = columns.end - columns.begin;
  if (width == g.w.in) {  // whole rows, as in global pooling, lie one behind the other
    width *= max(0, height);
    height = 1;
  }
  float sum[kCount] = {};
  for (int row = 0; row < height; ++row) {
    const T* from = x + g.in_offset(to.n, rows.begin + row, columns.begin) + to.c;
#pragma unroll 4
    for (int column = 0; column < width; ++column) {
      const auto values = load_pack<T, kCount>(from + column * g.channels);
#pragma unroll
      for (int k = 0; k < kCount; ++k) sum[k] += static_cast<float>(values.at[k]);
    }
  }
  const float area = max(1.0f, g.area(to.y, to.x));  // a window beyond the padding is empty: 0
  Pack<T, kCount> result;
#pragma unroll
  for (int k = 0; k < kCount; ++k) result.at[k] = sum[k] / area;
  store_pack(y + g.out_offset(to.n, to.y, to.x) + to.c, result);
}

__device__ uint32_t draw(const Philox& random, uint32_t element) {
  const auto block = random(element / 4);
  const uint32_t low = element % 2 ? block[1] : block[0], high = element % 2 ? block[3] : block[2];
  return element % 4 < 2 ? low : high;
}

// As for the maximum, one thread for each element of y. Draws a threshold in (0, total] and takes the first
// element where the running sum reaches it.
template <class T, class Number>
__global__ void stochastic_pooling_train_kernel(Geometry g, uint32_t items, uint64_t seed, uint64_t stream,
                                                const uint64_t* iteration, const T* x, T* y, Number* taken) {
  const uint32_t item = item_of_thread();
  if (item >= items) return;
  const Place to = place_of<1>(item, g.by_packs, g.w.by_out, g.h.by_out);
  float total = 0, sum = 0;
  for_each_in_window(g, to.n, to.y, to.x,
                     [&](int offset, int) { total += static_cast<float>(x[offset + to.c]); });
  const float threshold = total * (1.0f - uniform01(draw(Philox(seed, stream, *iteration), item)));
  T value = 0.0f;
  Number place = kNone<Number>;
  for_each_in_window(g, to.n, to.y, to.x, [&](int offset, int number) {
    sum += static_cast<float>(x[offset + to.c]);
    if (place != kNone<Number> || !(sum >= threshold)) return;
    place = static_cast<Number>(number);
    value = x[offset + to.c];
  });
  y[item] = value;
  taken[item] = place;
}

template <class T>
__global__ void stochastic_pooling_test_kernel(Geometry g, uint32_t items, const T* x, T* y) {
  const uint32_t item = item_of_thread();
  if (item >= items) return;
  const Place to = place_of<1>(item, g.by_packs, g.w.by_out, g.h.by_out);
  float sum = 0, squares = 0;
  for_each_in_window(g, to.n, to.y, to.x, [&](int offset, int) {
    const float value = x[offset + to.c];
    sum += value;
    squares += value * value;
  });
  y[item] = sum > 0 ? squares / sum : 0.0f;
}

// What an element gets of the windows over it: of a maximum or a draw, dy where it was taken.
template <int kCount, class T, class Number>
struct TakenTerm {
  const T* dy;
  const Number* taken;

  struct Loaded {
    Pack<T, kCount> dy;
    Pack<Number, kCount> taken;
  };
  __device__ Loaded load(int offset) const {
    return {load_pack<T, kCount>(dy + offset), load_pack<Number, kCount>(taken + offset)};
  }
  __device__ static void add(const Loaded& from, const Geometry&, int, int, int number, float* sum) {
#pragma unroll
    for (int k = 0; k < kCount; ++k)
      sum[k] += static_cast<int>(from.taken.at[k]) == number ? static_cast<float>(from.dy.at[k]) : 0.0f;
  }
};

// Of an average, its share of dy.
template <int kCount, class T>
struct AverageTerm {
  const T* dy;

  using Loaded = Pack<T, kCount>;
  __device__ Loaded load(int offset) const { return load_pack<T, kCount>(dy + offset); }
  __device__ static void add(const Loaded& from, const Geometry& g, int oh, int ow, int, float* sum) {
    const float share = 1.0f / g.area(oh, ow);
#pragma unroll
    for (int k = 0; k < kCount; ++k) sum[k] += share * static_cast<float>(from.at[k]);
  }
};

// Adds up the terms of the windows over a place. kWindows: how many there may be in a direction, 0 for any.
template <int kWindows, class Term>
__device__ void gather(const Geometry& g, const Place& to, const Term& term, float* sum) {
  const Range rows = g.h.windows_over(to.y), columns = g.w.windows_over(to.x);
  if constexpr (kWindows > 0) {
    // More than two rows at once would take too many registers.
#pragma unroll(kWindows < 3 ? kWindows : 1)
    for (int i = 0; i < kWindows; ++i) {
      typename Term::Loaded loaded[kWindows] = {};
      const int oh = rows.begin + i;
#pragma unroll
      for (int j = 0; j < kWindows; ++j)
        if (oh < rows.end && columns.begin + j < columns.end)
          loaded[j] = term.load(g.out_offset(to.n, oh, columns.begin + j) + to.c);
#pragma unroll
      for (int j = 0; j < kWindows; ++j)
        if (oh < rows.end && columns.begin + j < columns.end)
          term.add(loaded[j], g, oh, columns.begin + j, g.number(oh, columns.begin + j, to.y, to.x), sum);
    }
  } else {
    for (int oh = rows.begin; oh < rows.end; ++oh)
      for (int ow = columns.begin; ow < columns.end; ++ow)
        term.add(term.load(g.out_offset(to.n, oh, ow) + to.c), g, oh, ow, g.number(oh, ow, to.y, to.x), sum);
  }
}

// dx: (images, h.in, w.in, channels), what the term reads: (images, h.out, w.out, channels); one thread for
// each pack of dx.
template <int kWindows, int kCount, class T, class Term>
__global__ void pooling_backward_kernel(Geometry g, uint32_t items, Term term, T* dx) {
  if (item_of_thread() >= items) return;
  const Place to = place_of<kCount>(item_of_thread(), g.by_packs, g.w.by_in, g.h.by_in);
  float sum[kCount] = {};
  gather<kWindows>(g, to, term, sum);
  Pack<T, kCount> result;
#pragma unroll
  for (int k = 0; k < kCount; ++k) result.at[k] = sum[k];
  store_pack(dx + g.in_offset(to.n, to.y, to.x) + to.c, result);
}

template <int kValue>
using Constant = std::integral_constant<int, kValue>;

// Calls body(Constant<value>()) if there is a kernel for this value, else body(Constant<0>()).
template <int... kValues, class Body>
void with_constant(int value, Body&& body) {
  if (!((value == kValues && (body(Constant<kValues>()), true)) || ...)) body(Constant<0>());
}

class PoolingLayer : public CudaLayer {
 public:
  explicit PoolingLayer(const Args& args)
      : CudaLayer("Pooling", args),
        method_(args.text("method")),
        kernel_(args.integers("kernel")),
        stride_(args.integers("stride")),
        pad_(args.integers("pad")),
        global_(args.flag("global")),
        writes_places_(args.flag("places")),
        relu_below_(args.flag("relu_below")),
        training_(args.flag("training")) {}

  void reshape(const Blobs& bottom, const Blobs& top) override {
    if (writes_places_ && top[1]->dtype() == DType::bfloat16)
      throw ConfigError("places of maxima do not fit into bfloat16; run this net in float32");
    const bool plain = bottom[0]->layout() == Layout::plain;
    const Shape &in = bottom[0]->shape(), &out = top[0]->shape();
    geometry_.images = static_cast<int>(plain ? in[0] * in[1] : in[0]);
    geometry_.channels = static_cast<int>(plain ? 1 : in[1]);
    geometry_.h = extent(in[2], out[2], 0);
    geometry_.w = extent(in[3], out[3], 1);
    outputs_ = top[0]->count();
    taken_.reserve(taken_bytes());
  }

  void forward(const Context& context, const Blobs& bottom, const Blobs& top) override {
    with_types(*top[0], [&](auto zero, auto number) {
      using T = decltype(zero);
      using Number = decltype(number);
      const T* x = bottom[0]->data<T>();
      T* y = top[0]->data<T>();
      auto* taken = keeps_taken() ? static_cast<Number*>(taken_.overwrite()) : nullptr;
      if (method_ == "max")
        max_forward(context, x, y, taken);
      else if (method_ == "average")
        average_forward(context, x, y);
      else if (training_)
        queue(context, "stochastic_pooling_train", stochastic_pooling_train_kernel<T, Number>, outputs_, 1,
              context.seed, stream, context.device_iteration, x, y, taken);
      else
        queue(context, "stochastic_pooling_test", stochastic_pooling_test_kernel<T>, outputs_, 1, x, y);
      if (writes_places_)
        queue(context, "pooling_places", pooling_places_kernel<Number>, outputs_, 1, taken, top[1]->data());
    });
  }

  void backward(const Context& context, const Blobs& top, const std::vector<bool>& propagate_down,
                const Blobs& bottom) override {
    if (!propagate_down[0]) return;
    if (method_ == "stochastic" && !training_)
      throw ConfigError("STOCHASTIC has a gradient in phase TRAIN only");
    with_types(*top[0], [&](auto zero, auto number) {
      using T = decltype(zero);
      using Number = decltype(number);
      const T* dy = top[0]->diff<T>();
      if (method_ == "average") return average_backward(context, dy, *bottom[0]);
      auto* taken = static_cast<Number*>(taken_.data());
      if (!keeps_taken())
        max_forward(context, static_cast<const T*>(bottom[0]->data<T>()), static_cast<T*>(nullptr), taken);
      backward_to_taken(context, dy, static_cast<const Number*>(taken), *bottom[0]);
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

  // Queues a kernel with a thread for each `pack` of `count` elements.
  template <class Kernel, class... Arguments>
  void queue(const Context& context, const char* name, Kernel kernel, int64_t count, int pack,
             Arguments... arguments) {
    Geometry g = geometry_;
    g.by_packs = Divisor(static_cast<uint32_t>(std::max(1, g.channels / pack)));
    launch(context, name, grid_for(count / pack, kThreads), kernel, g, count / pack, arguments...);
  }

  // Calls body(Constant<pack>()) with the number of channels that a thread treats at once.
  template <class T, class Body, class... Pointers>
  void with_pack(Body&& body, const Pointers*... pointers) const {
    constexpr int kPack = 16 / sizeof(T);
    if (geometry_.channels % kPack == 0 && packable(pointers...))
      body(Constant<kPack>());
    else
      body(Constant<1>());
  }

  template <class T, class Number>
  void max_forward(const Context& context, const T* x, T* y, Number* taken) {
    const int side = geometry_.h.kernel == geometry_.w.kernel ? geometry_.h.kernel : 0;
    with_pack<T>(
        [&](auto pack) {
          with_constant<2, 3>(side, [&](auto window) {
            constexpr int kCount = decltype(pack)::value;
            constexpr int kWindow = kCount > 1 && sizeof(Number) == 1 ? decltype(window)::value : 0;
            const float floor = relu_below_ ? 0.0f : -INFINITY;
            queue(context, "max_pooling_forward", max_pooling_forward_kernel<kWindow, kCount, T, Number>,
                  outputs_, kCount, x, floor, y, taken);
          });
        },
        x, y);
  }

  template <class T>
  void average_forward(const Context& context, const T* x, T* y) {
    with_pack<T>(
        [&](auto pack) {
          queue(context, "average_pooling_forward", average_pooling_forward_kernel<decltype(pack)::value, T>,
                outputs_, pack, x, y);
        },
        x, y);
  }

  template <class T, class Number>
  void backward_to_taken(const Context& context, const T* dy, const Number* taken, Blob& bottom) {
    with_pack<T>(
        [&](auto pack) {
          constexpr int kCount = decltype(pack)::value;
          queue_backward<kCount, T>(context, TakenTerm<kCount, T, Number>{dy, taken}, bottom);
        },
        dy, bottom.diff<T>());
  }

  template <class T>
  void average_backward(const Context& context, const T* dy, Blob& bottom) {
    with_pack<T>(
        [&](auto pack) {
          constexpr int kCount = decltype(pack)::value;
          queue_backward<kCount, T>(context, AverageTerm<kCount, T>{dy}, bottom);
        },
        dy, bottom.diff<T>());
  }

  template <int kCount, class T, class Term>
  void queue_backward(const Context& context, Term term, Blob& bottom) {
    with_constant<1, 2, 3>(most_windows(), [&](auto windows) {
      constexpr int kWindows = kCount > 1 ? decltype(windows)::value : 0;
      queue(context, "pooling_backward", pooling_backward_kernel<kWindows, kCount, T, Term>, bottom.count(),
            kCount, term, bottom.diff<T>());
    });
  }

  // Over a place, in a direction.
  int most_windows() const {
    const auto most = [](const Extent& e) { return (e.kernel - 1) / e.stride + 1; };
    return std::max(most(geometry_.h), most(geometry_.w));
  }

  // Whether forward writes down which elements were taken.
  bool keeps_taken() const { return method_ != "average" && (training_ || writes_places_); }
  size_t number_bytes() const {
    const int64_t window = int64_t{geometry_.h.kernel} * geometry_.w.kernel;
    return window <= kNone<uint8_t> ? 1 : 4;
  }
  size_t taken_bytes() const {
    if (method_ == "average" || (method_ == "stochastic" && !training_)) return 0;
    return static_cast<size_t>(outputs_) * number_bytes();
  }

  Extent extent(int64_t in, int64_t out, size_t direction) const {
    const int64_t kernel = global_ ? std::max<int64_t>(1, in) : kernel_[direction];
    const int64_t stride = global_ ? 1 : stride_[direction], pad = global_ ? 0 : pad_[direction];
    if (out * stride + kernel + in + pad > kMaxCount)
      throw ShapeError(message("a window of ", kernel, " every ", stride, " with pad ", pad, " over ", in,
                               " places is too large for the GPU's kernels"));
    const auto divisor = [](int64_t value) {
      return Divisor(static_cast<uint32_t>(std::max<int64_t>(1, value)));
    };
    return {.in = static_cast<int>(in),
            .out = static_cast<int>(out),
            .kernel = static_cast<int>(kernel),
            .stride = static_cast<int>(stride),
            .pad = static_cast<int>(pad),
            .by_in = divisor(in),
            .by_out = divisor(out),
            .by_stride = divisor(stride)};
  }

  const std::string method_;  // max, average or stochastic
  const std::vector<int64_t> kernel_, stride_, pad_;
  const bool global_, writes_places_, relu_below_, training_;
  Geometry geometry_;
  int64_t outputs_ = 0;
  Storage taken_{Device::cuda};
};

REGISTER_LAYER("Pooling", cuda, PoolingLayer);

}  // namespace
}  // namespace caffe::cuda
