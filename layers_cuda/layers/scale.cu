// Scale on the GPU; formula, gradient and in-place use as in layers_cpp/layers/scale.cpp.
//
// The walk of memory is that of math/columns.hpp: forward reads x and writes y, backward reads x and dy for
// the sums, and dy once more for dx.
#include "core/accelerator.hpp"
#include "core/cuda_layer.hpp"
#include "core/scratch.hpp"
#include "layers/packed_coefficients.hpp"

namespace caffe::cuda {
namespace {

// y = x s + b; bias is null where there is none.
template <class T>
struct Multiply {
  using Value = T;
  static constexpr int kInputs = 1, kOutputs = 1;
  struct Channel {
    float scale, bias;
  };

  __device__ Channel channel(int k) const { return {scale[k], bias ? bias[k] : 0.0f}; }
  __device__ void apply(const Channel& channel, const float (&x)[1], float (&y)[1]) const {
    y[0] = x[0] * channel.scale + channel.bias;
  }

  const T* in[kInputs];
  T* out[kOutputs];
  const float *scale, *bias;
};

// Sums of dy x and of dy.
template <class T>
struct SumProducts {
  using Value = T;
  static constexpr int kInputs = 2, kSums = 2;
  struct Channel {};

  __device__ Channel channel(int) const { return {}; }
  __device__ void add(const Channel&, const float (&values)[2], float (&sums)[2]) const {
    sums[0] += values[0] * values[1];
    sums[1] += values[0];
  }

  const T* in[kInputs];  // dy, x
};

struct FinishGradients {
  __device__ void operator()(int k, const double (&sums)[2]) const {
    scale.put(k, sums[0]);
    bias.put(k, sums[1]);
  }

  GradientPlace scale, bias;
};

class ScaleLayer : public CudaLayer {
 public:
  explicit ScaleLayer(const Args& args)
      : CudaLayer("Scale", args),
        axis_(args.integer("axis")),
        num_axes_(args.integer("num_axes")),
        bias_term_(args.flag("bias_term")) {}

  void reshape(const Blobs& bottom, const Blobs& top) override {
    std::vector<Shape> shapes;
    for (const BlobPtr& each : bottom) shapes.push_back(each->shape());
    const auto [begin, end] = coefficient_axes(shapes, axis_, num_axes_);
    broadcast_ = Broadcast(*bottom[0], begin, end);
    partials_bytes_ = dispatch(bottom[0]->dtype(), [&](auto zero) {
      return partials_bytes<SumProducts<decltype(zero)>>(spread_of(broadcast_));
    });
    const bool may_want_ds = runs_backward && (!learned(bottom) || param_propagate_down[0]);
    keeps_input_ = bottom[0] == top[0] && may_want_ds;
    kept_bytes_ = keeps_input_ ? bottom[0]->bytes() : 0;
    kept_.reserve(kept_bytes_);
    kept_valid_ = false;
  }

  void forward(const Context& context, const Blobs& bottom, const Blobs& top) override {
    Scratch scratch(context, 0);
    const float* scale = packed(context, coefficients(bottom), scratch);
    const float* bias = bias_term_ ? packed(context, *params.back(), scratch) : nullptr;
    dispatch(top[0]->dtype(), [&](auto zero) {
      using T = decltype(zero);
      const T* x = bottom[0]->data<T>();
      if (keeps_input_) accelerator().copy(kept_.overwrite(), x, kept_bytes_);
      multiply(context, "scale_forward", x, scale, bias, top[0]->data<T>());
    });
    kept_valid_ = keeps_input_;
  }

  void backward(const Context& context, const Blobs& top, const std::vector<bool>& propagate_down,
                const Blobs& bottom) override {
    const bool want_ds = learned(bottom) ? param_propagate_down[0] : propagate_down[1];
    const bool want_db = bias_term_ && param_propagate_down.back();
    if (want_ds && keeps_input_ && !kept_valid_)
      throw ConfigError(
          "the last forward, in place and without backward in view, did not keep its input: run it again");
    dispatch(top[0]->dtype(), [&](auto zero) {
      using T = decltype(zero);
      const T* dy = top[0]->diff<T>();
      if (want_ds || want_db) add_up(context, dy, bottom, want_ds, want_db);
      if (!propagate_down[0]) return;
      Scratch scratch(context, 0);
      const float* scale = packed(context, coefficients(bottom), scratch);
      multiply(context, "scale_backward", dy, scale, nullptr, bottom[0]->diff<T>());
    });
  }

  size_t private_bytes(bool) const override { return kept_bytes_; }
  // Room for packed scale and bias, or for the sums.
  size_t scratch_bytes() const override {
    return std::max(2 * scratch_size(packed_bytes()), runs_backward ? scratch_size(partials_bytes_) : 0);
  }

 private:
  static bool learned(const Blobs& bottom) { return bottom.size() == 1; }
  Blob& coefficients(const Blobs& bottom) const { return learned(bottom) ? *params[0] : *bottom[1]; }
  size_t packed_bytes() const { return static_cast<size_t>(broadcast_.coefficients()) * sizeof(float); }

  const float* packed(const Context& context, Blob& values, Scratch& scratch) const {
    return pack_coefficients(context, broadcast_, values, scratch.take<float>(packed_bytes()));
  }

  template <class T>
  void multiply(const Context& context, const char* name, const T* x, const float* scale, const float* bias,
                T* y) {
    coefficient_map(context, name, spread_of(broadcast_), Multiply<T>{{x}, {y}, scale, bias});
  }

  template <class T>
  void add_up(const Context& context, const T* dy, const Blobs& bottom, bool want_ds, bool want_db) {
    const T* x = keeps_input_ ? static_cast<const T*>(kept_.data()) : bottom[0]->data<T>();
    const SumProducts<T> products{{dy, want_ds ? x : dy}};  // x may be gone where ds is not wanted
    const FinishGradients finish{
        GradientPlace(broadcast_, want_ds ? &coefficients(bottom) : nullptr, learned(bottom)),
        GradientPlace(broadcast_, want_db ? params.back().get() : nullptr, true)};
    Scratch scratch(context, 0);
    coefficient_sums(context, "scale_backward", spread_of(broadcast_), products, finish,
                     scratch.take<float>(partials_bytes_));
  }

  const int64_t axis_, num_axes_;
  const bool bias_term_;
  Broadcast broadcast_;
  size_t partials_bytes_ = 0;
  Storage kept_{Device::cuda};  // x, where the layer works in place and backward needs it
  size_t kept_bytes_ = 0;
  bool keeps_input_ = false, kept_valid_ = false;
};

REGISTER_LAYER("Scale", cuda, ScaleLayer);

}  // namespace
}  // namespace caffe::cuda
