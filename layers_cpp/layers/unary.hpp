// The layer that computes a formula of one operand, value by value, in any layout and element type.
//
// Works in place: where backward reads x, forward keeps a copy of it. A file that registers a type is one
// line: REGISTER_UNARY("ELU", cpu, ELU);
#pragma once

#include "core/registry.hpp"
#include "formulas/formula.hpp"
#include "layers/kept_input.hpp"
#include "math/elementwise.hpp"

namespace caffe {

template <class Formula>
class UnaryLayer : public Layer {
 public:
  explicit UnaryLayer(const Args& args) : formula_(args) {}

  std::vector<Shape> top_shapes(const std::vector<Shape>& bottoms) const override { return bottoms; }

  void reshape(const Blobs& bottom, const Blobs& top) override {
    if constexpr (Differentiable<Formula>)
      kept_.reshape(bottom, top, runs_backward && formula_.reads == Operand::x);
  }

  void forward(const Context&, const Blobs& bottom, const Blobs& top) override {
    dispatch(top[0]->dtype(), [&](auto zero) {
      using T = decltype(zero);
      const auto op = [formula = formula_](float x) { return formula.forward(x); };
      const T* x = bottom[0]->data<T>();
      T *y = top[0]->data<T>(), *kept = kept_.place<T>();
      if (kept)
        elementwise_keeping(op, Formula::cost, top[0]->count(), y, x, kept);
      else
        elementwise(op, Formula::cost, top[0]->count(), y, x);
    });
  }

  void backward(const Context&, const Blobs& top, const std::vector<bool>& propagate_down,
                const Blobs& bottom) override {
    if constexpr (Differentiable<Formula>) {
      if (!propagate_down[0]) return;
      dispatch(top[0]->dtype(), [&](auto zero) {
        using T = decltype(zero);
        const auto op = [formula = formula_](float value, float dy) { return formula.backward(value, dy); };
        const T* dy = top[0]->diff<T>();
        elementwise(op, Formula::cost, top[0]->count(), bottom[0]->diff<T>(), operand<T>(bottom, top), dy);
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

  const Formula formula_;
  KeptInput kept_{storages};
};

// The layer of the first formula that fits the arguments.
template <class Formula, class... Others>
std::shared_ptr<Layer> make_unary(const Args& args) {
  if constexpr (sizeof...(Others) > 0)
    if (!Formula::fits(args)) return make_unary<Others...>(args);
  return std::make_shared<UnaryLayer<Formula>>(args);
}

#define REGISTER_UNARY(type, device, ...)                                              \
  static const ::caffe::Registration registration_unary(type, ::caffe::Device::device, \
                                                        make_unary<__VA_ARGS__>)

}  // namespace caffe
