// Pooling on the GPU; formulas and gradients as in layers_cpp/layers/pooling.cpp, kernels in
// math/pooling_forward.hpp and math/pooling_backward.hpp, for the common windows of maxima in
// math/pooling_squares.hpp. A plain map is one of single channels.
#include <algorithm>

#include "core/cuda_layer.hpp"
#include "math/pooling_backward.hpp"
#include "math/pooling_forward.hpp"
#include "math/pooling_squares.hpp"

namespace caffe::cuda {
namespace {

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
        padding_counts_(args.flag("padding_counts")),
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
    launch(context, name, grid_for(count / pack, kPoolingThreads), kernel, g, count / pack, arguments...);
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

  // Calls body(Constant<side>(), Constant<stride>()) if there are kernels by squares for these windows and
  // arrays of T; returns whether.
  template <class T, class Number, class Body, class... Pointers>
  bool with_squares(Body&& body, const Pointers*... pointers) const {
    const Extent &h = geometry_.h, &w = geometry_.w;
    if (sizeof(Number) != 1 || geometry_.channels % Pack<T>::count != 0 || !packable(pointers...))
      return false;
    const auto are = [&](int side, int stride) {
      return h.kernel == side && w.kernel == side && h.stride == stride && w.stride == stride;
    };
    if (are(2, 2))
      body(Constant<2>(), Constant<2>());
    else if (are(3, 1))
      body(Constant<3>(), Constant<1>());
    else if (are(3, 2))
      body(Constant<3>(), Constant<2>());
    else
      return false;
    return true;
  }

  // Queues a kernel with a thread for each pack of each square of a map.
  template <class T, class Kernel, class... Arguments>
  void queue_squares(const Context& context, const char* name, Kernel kernel, int height, int width,
                     Arguments... arguments) {
    const auto divisor = [](int value) { return Divisor(static_cast<uint32_t>(value)); };
    const int packs = geometry_.channels / Pack<T>::count;
    const int down = (height + kSide - 1) / kSide, across = (width + kSide - 1) / kSide;
    const int64_t items = int64_t{geometry_.images} * down * across * packs;
    launch(context, name, grid_for(items, kPoolingThreads), kernel, geometry_,
           Squares{divisor(packs), divisor(across), divisor(down)}, items, arguments...);
  }

  template <class T, class Number>
  void max_forward(const Context& context, const T* x, T* y, Number* taken) {
    const bool by_squares = with_squares<T, Number>(
        [&](auto side, auto stride) {
          queue_squares<T>(context, "max_pooling_forward",
                           max_pooling_forward_squares_kernel<side, stride, T>, geometry_.h.out,
                           geometry_.w.out, x, relu_below_, y, reinterpret_cast<uint8_t*>(taken));
        },
        x, y);
    if (by_squares) return;
    with_pack<T>(
        [&](auto pack) {
          const float floor = relu_below_ ? 0.0f : -INFINITY;
          queue(context, "max_pooling_forward", max_pooling_forward_kernel<pack, T, Number>, outputs_, pack,
                x, floor, y, taken);
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
    const bool by_squares = with_squares<T, Number>(
        [&](auto side, auto stride) {
          const Extent &h = geometry_.h, &w = geometry_.w;
          queue_squares<T>(context, "pooling_backward", pooling_backward_squares_kernel<side, stride, T>,
                           h.in + h.pad, w.in + w.pad, dy, reinterpret_cast<const uint8_t*>(taken),
                           bottom.diff<T>());
        },
        dy, bottom.diff<T>());
    if (by_squares) return;
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
            .border = padding_counts_ ? static_cast<int>(pad) : 0,
            .by_in = divisor(in),
            .by_out = divisor(out),
            .by_stride = divisor(stride)};
  }

  const std::string method_;  // max, average or stochastic
  const std::vector<int64_t> kernel_, stride_, pad_;
  const bool global_, padding_counts_, writes_places_, relu_below_, training_;
  Geometry geometry_;
  int64_t outputs_ = 0;
  Storage taken_{Device::cuda};
};

REGISTER_LAYER("Pooling", cuda, PoolingLayer);

}  // namespace
}  // namespace caffe::cuda
