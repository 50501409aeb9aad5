// A loss of two blobs, element by element, on the GPU; what it computes: layers_cpp/math/pair_loss.hpp.
//
// Forward reads both once: a thread adds up at most kMostTerms elements in float, a block its threads, always
// in the same tree, and a second kernel the blocks in double. Backward reads both and writes one gradient at
// a time.
#pragma once

#include <string>

#include "core/cuda_layer.hpp"
#include "core/reduce.hpp"
#include "math/elementwise.hpp"
#include "math/loss_sum.hpp"

namespace caffe::cuda {

constexpr int kPairThreads = 256;

// Each block takes `terms` elements a thread.
template <class Formula, class T, class Target>
__global__ void pair_loss_sum_kernel(Formula formula, float ignored, int64_t count, int terms, const T* a,
                                     const Target* b, float* partials) {
  // a, b: (count); partials: (blocks, 2)
  const int64_t first = int64_t{blockIdx.x} * terms * kPairThreads + threadIdx.x;
  float loss = 0, valid = 0;
#pragma unroll 8
  for (int term = 0; term < terms; ++term) {
    const int64_t i = first + term * kPairThreads;
    if (i >= count) continue;
    const float target = b[i];
    if (truncf(target) == ignored) continue;
    loss += formula.loss(a[i], target);
    valid += 1;
  }
  float* shared = dynamic_shared<float>();  // (warps)
  loss = block_sum(loss, shared);
  valid = block_sum(valid, shared);
  if (threadIdx.x > 0) return;
  partials[2 * blockIdx.x] = loss;
  partials[2 * blockIdx.x + 1] = valid;
}

// sign * loss weight / Z * gradient, 0 where ignored.
template <class Formula>
struct PairGradient {
  __device__ float operator()(float a, float target) const {
    if (truncf(target) == ignored) return 0;
    return sign * (*loss_weight / *divisor) * formula.gradient(a, target);
  }

  Formula formula;
  float ignored, sign;
  const float *loss_weight, *divisor;
};

template <class Formula>
class PairLossLayer : public CudaLayer {
 public:
  PairLossLayer(const char* type, const Args& args)
      : CudaLayer(type, args),
        forward_name_(std::string(type) + " forward"),
        backward_name_(std::string(type) + " backward"),
        loss_(storages, args),
        formula_(args) {}

  void reshape(const Blobs& bottom, const Blobs&) override {
    loss_.reshape(bottom[0]->count(), bottom[0]->dim(0));
    // As many elements a thread as fill the device a few times; fixed, so that sums have the same bits
    // everywhere.
    const int64_t wanted = count() / (8 * kMultiprocessors * kPairThreads) + 1;
    terms_ = std::clamp<int64_t>(wanted, 8, kMostTerms);
  }

  void forward(const Context& context, const Blobs& bottom, const Blobs& top) override {
    auto* partials = static_cast<float*>(context.scratch->data());
    Grid grid = grid_for(blocks(), 1);
    grid.threads = dim3(kPairThreads);
    grid.shared_bytes = kPairThreads / kWarp * sizeof(float);
    with_types(bottom, [&](const auto* a, const auto* b) {
      launch(context, forward_name_.c_str(), grid, sum_kernel(a, b), formula_, ignored(), count(), terms_, a,
             b, partials);
    });
    finish_sums<2>(context, forward_name_.c_str(), loss_.finish(top[0]->data()), partials, blocks(), 1);
  }

  void backward(const Context& context, const Blobs& top, const std::vector<bool>& propagate_down,
                const Blobs& bottom) override {
    if (Formula::kLabels) refuse_gradients(propagate_down, 1);
    with_types(bottom, [&](const auto* a, const auto* b) {
      using T = std::remove_cvref_t<decltype(*a)>;
      for (size_t i = 0; i < 2; ++i) {
        if (!propagate_down[i]) continue;
        const PairGradient<Formula> gradient{formula_, ignored(), i == 0 ? 1.0f : -1.0f, top[0]->diff(),
                                             loss_.divisor()};
        elementwise(context, backward_name_.c_str(), gradient, count(), bottom[i]->diff<T>(), a, b);
      }
    });
  }

  size_t scratch_bytes() const override { return static_cast<size_t>(blocks()) * 2 * sizeof(float); }

 private:
  int64_t count() const { return loss_.normalizer().labels(); }
  int64_t blocks() const {
    const int64_t each = terms_ * kPairThreads;
    return (count() + each - 1) / each;
  }
  float ignored() const { return loss_.normalizer().ignored_value(); }

  template <class T, class Target>
  static auto sum_kernel(const T*, const Target*) {
    return pair_loss_sum_kernel<Formula, T, Target>;
  }

  // Calls body(a, b) with pointers of the blobs' types.
  template <class Body>
  static void with_types(const Blobs& bottom, Body&& body) {
    dispatch(bottom[0]->dtype(), [&](auto zero) {
      using T = decltype(zero);
      using Target = std::conditional_t<Formula::kLabels, float, T>;
      body(static_cast<const T*>(bottom[0]->data<T>()),
           static_cast<const Target*>(bottom[1]->data<Target>()));
    });
  }

  const std::string forward_name_, backward_name_;
  LossSum loss_;
  const Formula formula_;
  int64_t terms_ = 1;
};

#define REGISTER_PAIR_LOSS(type, device, Formula)            \
  static const ::caffe::Registration registration_##Formula( \
      type, ::caffe::Device::device,                         \
      [](const ::caffe::Args& args) { return std::make_shared<PairLossLayer<Formula>>(type, args); })

}  // namespace caffe::cuda
