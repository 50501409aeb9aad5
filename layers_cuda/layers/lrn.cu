// LRN on the GPU, of x (N, H, W, C); formulas as in layers_cpp/layers/lrn.cpp. Windows across 5 channels have
// kernels of their own, math/lrn_channels.hpp; those for all others are in math/lrn_window.hpp.
#include "core/cuda_layer.hpp"
#include "core/error.hpp"
#include "core/launch.hpp"
#include "core/scratch.hpp"
#include "math/lrn_channels.hpp"
#include "math/lrn_window.hpp"

namespace caffe::cuda {
namespace {

using namespace lrn;

constexpr int kThreads = 256;

class LRNLayer : public CudaLayer {
 public:
  explicit LRNLayer(const Args& args) : CudaLayer("LRN", args), within_(args.flag("within_channel")) {
    const int64_t size = args.integer("local_size");
    const auto places = static_cast<float>(within_ ? size * size : size);
    norm_ = {static_cast<int>((size - 1) / 2), args.real("alpha") / places, args.real("beta"),
             within_ ? 1.0f : args.real("k")};
  }

  void reshape(const Blobs& bottom, const Blobs&) override {
    const Blob& x = *bottom[0];
    count_ = x.count();
    dtype_ = x.dtype();
    map_ = {static_cast<int>(x.dim(1)), static_cast<int>(x.dim(2)), static_cast<int>(x.dim(3)), within_};
  }

  void forward(const Context& context, const Blobs& bottom, const Blobs& top) override {
    with_types(*top[0], [&](auto zero, auto power) {
      using T = decltype(zero);
      const T* x = bottom[0]->data<T>();
      T* y = top[0]->data<T>();
      if (is_5_channels())
        packable(x, y) ? forward_5_channels<true>(context, power, x, y)
                       : forward_5_channels<false>(context, power, x, y);
      else
        in_packs(x, y) ? forward_any<Pack<T>::count>(context, power, x, y)
                       : forward_any<1>(context, power, x, y);
    });
  }

  void backward(const Context& context, const Blobs& top, const std::vector<bool>& propagate_down,
                const Blobs& bottom) override {
    if (!propagate_down[0]) return;
    with_types(*top[0], [&](auto zero, auto power) {
      using T = decltype(zero);
      const T *x = bottom[0]->data<T>(), *dy = top[0]->diff<T>();
      T* dx = bottom[0]->diff<T>();
      if (is_5_channels())
        packable(x, dy, dx) ? backward_5_channels<true>(context, power, x, dy, dx)
                            : backward_5_channels<false>(context, power, x, dy, dx);
      else
        in_packs(x, dy, dx) ? backward_any<Pack<T>::count>(context, power, x, dy, dx)
                            : backward_any<1>(context, power, x, dy, dx);
    });
  }

  size_t scratch_bytes() const override {
    return runs_backward && !is_5_channels() ? 2 * scratch_size(map_bytes()) : 0;
  }

 private:
  // Calls body(T{}, power).
  template <class Body>
  void with_types(const Blob& blob, Body&& body) const {
    dispatch(blob.dtype(),
             [&](auto zero) { with_power(norm_.beta, [&](auto power) { body(zero, power); }); });
  }

  size_t map_bytes() const { return static_cast<size_t>(count_) * sizeof(float); }
  bool whole_packs() const { return map_.channels % static_cast<int>(16 / size_of(dtype_)) == 0; }
  bool is_5_channels() const { return !within_ && norm_.reach == kReach && whole_packs(); }

  template <class T>
  Divisor packs_across() const {
    return Divisor(static_cast<uint32_t>(map_.channels / Pack<T>::count));
  }

  // Other windows across channels go over single values.
  template <class T, class... More>
  bool in_packs(const T* first, const More*... more) const {
    return within_ && whole_packs() && packable(first, more...);
  }

  template <bool kAligned, class T, class Power>
  void forward_5_channels(const Context& context, Power power, const T* x, T* y) {
    const int64_t packs = count_ / Pack<T>::count;
    launch(context, "lrn_forward", grid_for(packs, kThreads),
           lrn_forward_5_channels_kernel<kAligned, T, Power>, norm_, power, packs, packs_across<T>(), x, y);
  }

  template <bool kAligned, class T, class Power>
  void backward_5_channels(const Context& context, Power power, const T* x, const T* dy, T* dx) {
    const int64_t packs = count_ / Pack<T>::count;
    launch(context, "lrn_backward", grid_for(packs, kThreads),
           lrn_backward_5_channels_kernel<kAligned, T, Power>, norm_, power, packs, packs_across<T>(), x, dy,
           dx);
  }

  template <int kCount, class T, class Power>
  void forward_any(const Context& context, Power power, const T* x, T* y) {
    const int64_t packs = count_ / kCount;
    launch(context, "lrn_forward", grid_for(packs, kThreads), lrn_forward_kernel<kCount, T, Power>, map_,
           norm_, power, packs, x, y);
  }

  template <int kCount, class T, class Power>
  void backward_any(const Context& context, Power power, const T* x, const T* dy, T* dx) {
    Scratch scratch(context, 0);
    float *factors = scratch.take<float>(map_bytes()), *ratios = scratch.take<float>(map_bytes());
    const int64_t packs = count_ / kCount;
    launch(context, "lrn_ratios", grid_for(packs, kThreads), lrn_ratios_kernel<kCount, T, Power>, map_, norm_,
           power, packs, x, dy, factors, ratios);
    launch(context, "lrn_backward", grid_for(packs, kThreads), lrn_backward_kernel<kCount, T>, map_, norm_,
           packs, x, dy, factors, ratios, dx);
  }

  const bool within_;
  Normalization norm_{};
  Map map_{};
  int64_t count_ = 0;
  DType dtype_ = DType::float32;
};

REGISTER_LAYER("LRN", cuda, LRNLayer);

}  // namespace
}  // namespace caffe::cuda
