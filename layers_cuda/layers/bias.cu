// Bias on the GPU; formula, gradient and in-place use as in layers_cpp/layers/bias.cpp.
//
// The walk of memory is that of math/columns.hpp: forward reads x and writes y, backward reads dy once for
// the sums; dx is dy itself in place, else a copy.
#include "core/accelerator.hpp"
#include "core/cuda_layer.hpp"
#include "core/scratch.hpp"
#include "layers/packed_coefficients.hpp"
#include "math/bias_gradient.hpp"

namespace caffe::cuda {
namespace {

template <class T>
struct AddBias {
  using Value = T;
  static constexpr int kInputs = 1, kOutputs = 1;
  struct Channel {
    float bias;
  };

  __device__ Channel channel(int k) const { return {bias[k]}; }
  __device__ void apply(const Channel& channel, const float (&x)[1], float (&y)[1]) const {
    y[0] = x[0] + channel.bias;
  }

  const T* in[kInputs];
  T* out[kOutputs];
  const float* bias;
};

struct FinishGradient {
  __device__ void operator()(int k, const double (&sums)[1]) const { place.put(k, sums[0]); }

  GradientPlace place;
};

class BiasLayer : public CudaLayer {
 public:
  explicit BiasLayer(const Args& args)
      : CudaLayer("Bias", args), axis_(args.integer("axis")), num_axes_(args.integer("num_axes")) {}

  void reshape(const Blobs& bottom, const Blobs&) override {
    std::vector<Shape> shapes;
    for (const BlobPtr& each : bottom) shapes.push_back(each->shape());
    const auto [begin, end] = coefficient_axes(shapes, axis_, num_axes_);
    broadcast_ = Broadcast(*bottom[0], begin, end);
    partials_bytes_ = dispatch(bottom[0]->dtype(), [&](auto zero) {
      return partials_bytes<BiasTerms<decltype(zero)>>(spread_of(broadcast_));
    });
  }

  void forward(const Context& context, const Blobs& bottom, const Blobs& top) override {
    Scratch scratch(context, 0);
    const float* bias =
        pack_coefficients(context, broadcast_, coefficients(bottom), scratch.take<float>(packed_bytes()));
    dispatch(top[0]->dtype(), [&](auto zero) {
      using T = decltype(zero);
      coefficient_map(context, "bias_forward", spread_of(broadcast_),
                      AddBias<T>{{bottom[0]->data<T>()}, {top[0]->data<T>()}, bias});
    });
  }

  void backward(const Context& context, const Blobs& top, const std::vector<bool>& propagate_down,
                const Blobs& bottom) override {
    const bool want_sums = learned(bottom) ? param_propagate_down[0] : propagate_down[1];
    dispatch(top[0]->dtype(), [&](auto zero) {
      using T = decltype(zero);
      const T* dy = top[0]->diff<T>();
      if (want_sums) add_up(context, dy, bottom);
      if (propagate_down[0] && bottom[0] != top[0])
        accelerator().copy(bottom[0]->diff<T>(), dy, bottom[0]->bytes());
    });
  }

  size_t scratch_bytes() const override {
    return scratch_size(std::max(runs_backward ? partials_bytes_ : 0, packed_bytes()));
  }

 private:
  static bool learned(const Blobs& bottom) { return bottom.size() == 1; }
  Blob& coefficients(const Blobs& bottom) const { return learned(bottom) ? *params[0] : *bottom[1]; }
  size_t packed_bytes() const { return static_cast<size_t>(broadcast_.coefficients()) * sizeof(float); }

  template <class T>
  void add_up(const Context& context, const T* dy, const Blobs& bottom) {
    Scratch scratch(context, 0);
    const FinishGradient finish{GradientPlace(broadcast_, &coefficients(bottom), learned(bottom))};
    coefficient_sums(context, "bias_backward", spread_of(broadcast_), BiasTerms<T>{{dy}}, finish,
                     scratch.take<float>(partials_bytes_));
  }

  const int64_t axis_, num_axes_;
  Broadcast broadcast_;
  size_t partials_bytes_ = 0;
};

REGISTER_LAYER("Bias", cuda, BiasLayer);

}  // namespace
}  // namespace caffe::cuda
