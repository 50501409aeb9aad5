// The layer that computes a formula of one operand, on the GPU; the twin of layers_cpp/layers/unary.hpp.
#pragma once

#include "core/accelerator.hpp"
#include "core/cuda_layer.hpp"
#include "formulas/formula.hpp"
#include "layers/kept_input.hpp"
#include "math/elementwise.hpp"

namespace caffe::cuda {

// What kernels call; a device may specialise them for an element type.
template <class Formula, class T>
struct Forward {
  Formula formula;
  __device__ float operator()(float x) const { return formula.forward(x); }
};
template <class Formula, class T>
struct Backward {
  Formula formula;
  __device__ float operator()(float value, float dy) const { return formula.backward(value, dy); }
};

template <class Formula>
class UnaryLayer : public CudaLayer {
 public:
  UnaryLayer(const char* type, const Args& args) : CudaLayer(type, args), type_(type), formula_(args) {}

  void reshape(const Blobs& bottom, const Blobs& top) override {
    if constexpr (Differentiable<Formula>)
      kept_.reshape(bottom, top, runs_backward && formula_.reads == Operand::x);
  }

  void forward(const Context& context, const Blobs& bottom, const Blobs& top) override {
    dispatch(top[0]->dtype(), [&](auto zero) {
      using T = decltype(zero);
      const T* x = bottom[0]->data<T>();
      if (T* kept = kept_.place<T>()) accelerator().copy(kept, x, bottom[0]->bytes());
      elementwise(context, type_, Forward<Formula, T>{formula_}, top[0]->count(), top[0]->data<T>(), x);
    });
  }

  void backward(const Context& context, const Blobs& top, const std::vector<bool>& propagate_down,
                const Blobs& bottom) override {
    if constexpr (Differentiable<Formula>) {
      if (!propagate_down[0]) return;
      dispatch(top[0]->dtype(), [&](auto zero) {
        using T = decltype(zero);
        elementwise(context, type_, Backward<Formula, T>{formula_}, top[0]->count(), bottom[0]->diff<T>(),
                    operand<T>(bottom, top), top[0]->diff<T>());
      });
    }
  }

 private:
  // What backward reads; where that is nothing, dy once more.
  template <class T>
  const T* operand(const Blobs& bottom, const Blobs& top) {
    const Operand reads = formula_.reads;
    if (reads == Operand::none) return top[0]->diff<T>();
    return reads == Operand::x ? kept_.data<T>(*bottom[0]) : top[0]->data<T>();
  }

  const char* const type_;  // for error messages
  const Formula formula_;
  KeptInput kept_{storages, Device::cuda};
};

// The layer of the first formula that fits the arguments.
template <class Formula, class... Others>
std::shared_ptr<Layer> make_unary(const char* type, const Args& args) {
  if constexpr (sizeof...(Others) > 0)
    if (!Formula::fits(args)) return make_unary<Others...>(type, args);
  return std::make_shared<UnaryLayer<Formula>>(type, args);
}

#define REGISTER_UNARY(type, device, ...)                \
  static const ::caffe::Registration registration_unary( \
      type, ::caffe::Device::device,                     \
      [](const ::caffe::Args& args) { return make_unary<__VA_ARGS__>(type, args); })

}  // namespace caffe::cuda
