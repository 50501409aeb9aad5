// PReLU on the GPU; formula, gradient and in-place use as in layers_cpp/layers/prelu.cpp.
//
// The walk of memory is that of math/columns.hpp: forward reads x and writes y; backward reads x and dy once,
// for the sums and for dx.
#include "core/accelerator.hpp"
#include "core/cuda_layer.hpp"
#include "core/scratch.hpp"
#include "layers/kept_input.hpp"
#include "layers/packed_coefficients.hpp"

namespace caffe::cuda {
namespace {

struct Slope {
  __device__ float bend(float x, float value) const { return x > 0 ? value : slope * value; }

  float slope;
};

template <class T>
struct PReLUForward {
  using Value = T;
  using Channel = Slope;
  static constexpr int kInputs = 1, kOutputs = 1;

  __device__ Channel channel(int k) const { return {slopes[k]}; }
  __device__ void apply(const Channel& channel, const float (&x)[1], float (&y)[1]) const {
    y[0] = channel.bend(x[0], x[0]);
  }

  const T* in[kInputs];
  T* out[kOutputs];
  const float* slopes;
};

// dx alone.
template <class T>
struct PReLUBackward {
  using Value = T;
  using Channel = Slope;
  static constexpr int kInputs = 2, kOutputs = 1;

  __device__ Channel channel(int k) const { return {slopes[k]}; }
  __device__ void apply(const Channel& channel, const float (&values)[2], float (&dx)[1]) const {
    dx[0] = channel.bend(values[1], values[0]);
  }

  const T* in[kInputs];  // dy, x
  T* out[kOutputs];
  const float* slopes;
};

// The sums of dy x where x is not above 0.
template <class T>
struct LowerProducts {
  using Value = T;
  using Channel = Slope;
  static constexpr int kInputs = 2, kSums = 1;

  __device__ Channel channel(int k) const { return {slopes[k]}; }
  __device__ void add(const Channel&, const float (&values)[2], float (&sums)[1]) const {
    sums[0] += values[0] * (values[1] > 0 ? 0.0f : values[1]);
  }

  const T* in[kInputs];  // dy, x
  const float* slopes;
};

// The same, and dx on the way.
template <class T>
struct LowerProductsAndGradient : LowerProducts<T> {
  __device__ float stored(const Slope& channel, const float (&values)[2]) const {
    return channel.bend(values[1], values[0]);
  }

  T* out[1];
};

struct FinishGradient {
  __device__ void operator()(int k, const double (&sums)[1]) const { place.put(k, sums[0]); }

  GradientPlace place;
};

class PReLULayer : public CudaLayer {
 public:
  explicit PReLULayer(const Args& args) : CudaLayer("PReLU", args), shared_(args.flag("channel_shared")) {}

  void reshape(const Blobs& bottom, const Blobs& top) override {
    broadcast_ = shared_ ? Broadcast(*bottom[0], 0, 0) : Broadcast(*bottom[0], 1, 2);
    kept_.reshape(bottom, top, runs_backward);
    partials_bytes_ = dispatch(bottom[0]->dtype(), [&](auto zero) {
      return partials_bytes<LowerProducts<decltype(zero)>>(spread_of(broadcast_));
    });
  }

  void forward(const Context& context, const Blobs& bottom, const Blobs& top) override {
    dispatch(top[0]->dtype(), [&](auto zero) {
      using T = decltype(zero);
      const T* x = bottom[0]->data<T>();
      if (T* kept = kept_.place<T>()) accelerator().copy(kept, x, bottom[0]->bytes());
      coefficient_map(context, "prelu_forward", spread_of(broadcast_),
                      PReLUForward<T>{{x}, {top[0]->data<T>()}, params[0]->data()});
    });
  }

  void backward(const Context& context, const Blobs& top, const std::vector<bool>& propagate_down,
                const Blobs& bottom) override {
    dispatch(top[0]->dtype(), [&](auto zero) {
      using T = decltype(zero);
      const T *dy = top[0]->diff<T>(), *x = kept_.data<T>(*bottom[0]);
      const float* slopes = params[0]->data();
      T* dx = propagate_down[0] ? bottom[0]->diff<T>() : nullptr;
      if (param_propagate_down[0] && dx)
        add_up(context, LowerProductsAndGradient<T>{{{dy, x}, slopes}, {dx}});
      else if (param_propagate_down[0])
        add_up(context, LowerProducts<T>{{dy, x}, slopes});
      else if (dx)
        coefficient_map(context, "prelu_backward", spread_of(broadcast_),
                        PReLUBackward<T>{{dy, x}, {dx}, slopes});
    });
  }

  size_t scratch_bytes() const override { return runs_backward ? scratch_size(partials_bytes_) : 0; }

 private:
  template <class Terms>
  void add_up(const Context& context, const Terms& terms) {
    Scratch scratch(context, 0);
    coefficient_sums(context, "prelu_backward", spread_of(broadcast_), terms,
                     FinishGradient{GradientPlace(broadcast_, params[0].get(), true)},
                     scratch.take<float>(partials_bytes_));
  }

  const bool shared_;
  Broadcast broadcast_;
  KeptInput kept_{storages, Device::cuda};
  size_t partials_bytes_ = 0;
};

REGISTER_LAYER("PReLU", cuda, PReLULayer);

}  // namespace
}  // namespace caffe::cuda
