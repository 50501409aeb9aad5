// BatchNorm on the GPU; formulas, learned blobs and in-place use as in layers_cpp/layers/batch_norm.cpp.
//
// The walk of memory is that of math/columns.hpp: channels-last each thread keeps to the channels of one
// 16-byte column. With e bytes a value (4 or 2), an element costs
//
//   forward     3 e   x for the statistics; x and y for the result
//   backward    5 e   x and dy for the two sums; x, dy and dx for the result
//
// and e more in forward where xhat is kept. The ReLU's mask is computed again from x: y is not read. What
// passes between the kernels are a few numbers a channel.
//
// With `addend`, the sum at the end of a residual block, y = max(.. + bottom 1, 0). Its ReLU's mask is y's:
//
//   forward     4 e   the addend as well
//   backward    7 e   x, dy, y and the gradient of the addend, dy where y > 0; x, that gradient and dx
#include <cmath>

#include "core/accelerator.hpp"
#include "core/cuda_layer.hpp"
#include "core/scratch.hpp"
#include "math/batch_norm.hpp"

namespace caffe::cuda {
namespace {

using namespace batch_norm;

__global__ void batch_norm_stored_kernel(Learned learned, Statistics statistics, float eps, int channels) {
  // learned.mean, .variance, .scale, .shift, statistics.*: (C); learned.factor: (1)
  const int c = blockIdx.x * blockDim.x + threadIdx.x;
  if (c >= channels) return;
  const float factor = *learned.factor, inverse = factor == 0 ? 0 : 1 / factor;
  statistics.set(c, inverse * learned.mean[c], inverse * learned.variance[c], eps, learned.scale,
                 learned.shift);
}

class BatchNormLayer : public CudaLayer {
 public:
  explicit BatchNormLayer(const Args& args)
      : CudaLayer("BatchNorm", args),
        global_(args.flag("use_global_stats")),
        affine_(args.flag("scale_bias")),
        relu_(args.flag("relu")),
        addend_(args.flag("addend")),
        fraction_(args.real("moving_average_fraction")),
        eps_(args.real("eps")) {}

  void reshape(const Blobs& bottom, const Blobs& top) override {
    const Blob& x = *bottom[0];
    channels_ = params[0]->count();
    const bool last = x.layout() == Layout::channels_last || x.axes() <= 2;
    items_ = channels_ ? x.count() / channels_ : 0;
    const int64_t outer = last ? items_ : x.dim(0);
    inner_ = outer ? items_ / outer : 0;
    if (channels_ == 1)
      spread_ = {1, 1, items_, 1};
    else
      spread_ = last ? Spread{items_, 1, 1, channels_} : Spread{outer, channels_, inner_, 1};
    keeps_ = bottom[0] == top[0] && runs_backward;
    statistics_.reserve(4 * channel_bytes());
    if (keeps_) normalised_.reserve(x.bytes());
    partials_bytes_ = dispatch(x.dtype(), [&](auto zero) { return most_partials<decltype(zero)>(); });
  }

  void forward(const Context& context, const Blobs& bottom, const Blobs& top) override {
    if (items_ == 0) return;
    if (global_)
      launch(context, "batch_norm_stored", grid_for(channels_, 128), batch_norm_stored_kernel, learned(),
             statistics(), eps_, channels_);
    else
      dispatch(bottom[0]->dtype(), [&](auto zero) {
        using T = decltype(zero);
        use_batch_statistics(context, bottom[0]->data<T>());
      });
    recompute(context, bottom, top);
  }

  // With the statistics of the last forward, which are not counted into the stored ones again.
  void recompute(const Context& context, const Blobs& bottom, const Blobs& top) override {
    if (items_ == 0) return;
    dispatch(bottom[0]->dtype(), [&](auto zero) {
      using T = decltype(zero);
      const T* x = bottom[0]->data<T>();
      T* y = top[0]->data<T>();
      const float floor = relu_ ? 0.0f : -INFINITY;
      if (keeps_)
        normalise(context, Normalise<T, true, false>{{x}, {y, kept<T>()}, statistics(), floor});
      else if (addend_)
        normalise(context, Normalise<T, false, true>{{x, bottom[1]->data<T>()}, {y}, statistics(), floor});
      else
        normalise(context, Normalise<T, false, false>{{x}, {y}, statistics(), floor});
    });
  }

  void backward(const Context& context, const Blobs& top, const std::vector<bool>& propagate_down,
                const Blobs& bottom) override {
    if (items_ == 0) return;
    dispatch(bottom[0]->dtype(), [&](auto zero) {
      using T = decltype(zero);
      const T *x = keeps_ ? kept<T>() : bottom[0]->data<T>(), *dy = top[0]->diff<T>();
      const T* y = addend_ && relu_ ? top[0]->data<T>() : nullptr;
      T* dx = propagate_down[0] ? bottom[0]->diff<T>() : nullptr;
      if (addend_ && propagate_down[1])
        differentiate_both(context, x, dy, y, dx, bottom[1]->diff<T>());
      else if (y)
        differentiate(context, Gradients<T, Mask::of_y>{{x, dy, y}, statistics(), keeps_}, dx);
      else if (relu_)
        differentiate(context, Gradients<T, Mask::of_x>{{x, dy}, statistics(), keeps_}, dx);
      else
        differentiate(context, Gradients<T, Mask::none>{{x, dy}, statistics(), keeps_}, dx);
    });
  }

  size_t private_bytes(bool) const override { return statistics_.bytes() + normalised_.bytes(); }
  size_t scratch_bytes() const override {
    return 2 * scratch_size(channel_bytes()) + scratch_size(partials_bytes_);
  }

 private:
  // Temporaries of backward: mean(dy) and mean(dy xhat) dxhat/dx of each channel, then the partial sums.
  struct Temporaries {
    float *mean_dy, *slope, *partials;
  };
  Temporaries temporaries(const Context& context) const {
    Scratch scratch(context, 0);
    float *mean_dy = scratch.take<float>(channel_bytes()), *slope = scratch.take<float>(channel_bytes());
    return {mean_dy, slope, scratch.take<float>(partials_bytes_)};
  }

  size_t channel_bytes() const { return static_cast<size_t>(channels_) * sizeof(float); }
  template <class T>
  size_t most_partials() const {
    return std::max({partials_bytes<Moments<T>>(spread_), partials_bytes<Gradients<T, Mask::none>>(spread_),
                     partials_bytes<Gradients<T, Mask::of_y>>(spread_)});
  }

  template <class T>
  T* kept() {
    return static_cast<T*>(normalised_.data());
  }
  Statistics statistics() {
    float* mean = static_cast<float*>(statistics_.data());
    return {mean, mean + channels_, mean + 2 * channels_, mean + 3 * channels_};
  }
  Learned learned() {
    return {params[0]->data(), params[1]->data(), params[2]->data(), affine_ ? params[3]->data() : nullptr,
            affine_ ? params[4]->data() : nullptr};
  }

  template <class T>
  void use_batch_statistics(const Context& context, const T* x) {
    const auto items = static_cast<double>(items_);
    const float unbiased = items_ > 1 ? static_cast<float>(items / (items - 1)) : 1.0f;
    const Moments<T> moments{{x}, inner_};
    const FinishMoments<T> finish{moments, learned(), statistics(), items, fraction_, eps_, unbiased};
    coefficient_sums(context, "batch_norm_statistics", spread_, moments, finish,
                     temporaries(context).partials);
    // Another net that shares the statistics may have folded them into weights.
    for (size_t i = 0; i < 3; ++i) params[i]->data_storage().touch();
  }

  template <class Op>
  void normalise(const Context& context, const Op& op) {
    coefficient_map(context, "batch_norm_forward", spread_, op);
  }

  // The sums over dy, and with them the gradients of scale and shift.
  template <class Terms>
  void add_up(const Context& context, const Terms& terms) {
    const auto [mean_dy, slope, partials] = temporaries(context);
    FinishGradients finish{statistics(), keeps_, !global_, static_cast<double>(items_),
                           mean_dy,      slope,  nullptr,  nullptr,
                           false,        false};
    if (affine_ && param_propagate_down[3]) finish.dscale = gradient_of(3, finish.add_scale);
    if (affine_ && param_propagate_down[4]) finish.dshift = gradient_of(4, finish.add_shift);
    coefficient_sums(context, "batch_norm_gradients", spread_, terms, finish, partials);
  }

  template <class T, Mask kMask>
  void write_gradient(const Context& context, const Gradients<T, kMask>& terms, T* dx) {
    const auto [mean_dy, slope, partials] = temporaries(context);
    coefficient_map(context, "batch_norm_backward", spread_,
                    Differentiate<T, kMask>{terms, {dx}, mean_dy, slope});
  }

  // dx is null where it is not wanted.
  template <class T, Mask kMask>
  void differentiate(const Context& context, const Gradients<T, kMask>& terms, T* dx) {
    const bool learns = affine_ && (param_propagate_down[3] || param_propagate_down[4]);
    if (!global_ || learns)
      add_up(context, terms);
    else
      clear_means(context);
    if (dx) write_gradient(context, terms, dx);
  }

  // dx, and the gradient of the addend, which is made along with the sums. y is null where there is no ReLU.
  template <class T>
  void differentiate_both(const Context& context, const T* x, const T* dy, const T* y, T* dx, T* daddend) {
    if (y)
      add_up(context, PassingGradients<T, Mask::of_y>{{{x, dy, y}, statistics(), keeps_}, {daddend}});
    else
      add_up(context, PassingGradients<T, Mask::none>{{{x, dy}, statistics(), keeps_}, {daddend}});
    if (dx) write_gradient(context, Gradients<T, Mask::none>{{x, daddend}, statistics(), keeps_}, dx);
  }

  void clear_means(const Context& context) const {
    const auto [mean_dy, slope, partials] = temporaries(context);
    accelerator().clear(mean_dy, channel_bytes());
    accelerator().clear(slope, channel_bytes());
  }

  // Where to put it, and whether to add to what is there.
  float* gradient_of(size_t param, bool& add) {
    Storage& diff = params[param]->diff_storage();
    add = !diff.zero();
    return static_cast<float*>(add ? diff.data() : diff.overwrite());
  }

  const bool global_, affine_, relu_, addend_;
  const float fraction_, eps_;
  bool keeps_ = false;  // in place, backward needs a copy of xhat
  int64_t channels_ = 0, items_ = 0, inner_ = 0;
  Spread spread_{};
  size_t partials_bytes_ = 0;
  Storage statistics_{Device::cuda}, normalised_{Device::cuda};
};

REGISTER_LAYER("BatchNorm", cuda, BatchNormLayer);

}  // namespace
}  // namespace caffe::cuda
