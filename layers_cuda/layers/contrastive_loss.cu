// ContrastiveLoss on the GPU; formulas as in layers_cpp/layers/contrastive_loss.cpp.
//
// Forward reads both vectors of a pair once, by a team of threads, and keeps the pair's factor; the losses
// are added up in a second step. Backward reads both and writes one gradient at a time.
#include "core/cuda_layer.hpp"
#include "core/scratch.hpp"
#include "formulas/contrastive_loss.hpp"
#include "math/loss_sum.hpp"
#include "math/row_teams.hpp"

namespace caffe::cuda {
namespace {

template <class T>
__global__ void contrastive_loss_forward_kernel(ContrastiveLoss formula, int pairs, int length, const T* a,
                                                const T* b, const float* similar, float* losses, float* valid,
                                                float* factors) {
  // a, b: (pairs, length); similar, losses, valid, factors: (pairs)
  const int pair = team_row();
  if (pair >= pairs) return;
  const int64_t first = int64_t{pair} * length;
  float square = 0;
#pragma unroll 4
  for (int i = threadIdx.x; i < length; i += blockDim.x) {
    const float difference = static_cast<float>(a[first + i]) - static_cast<float>(b[first + i]);
    square += difference * difference;
  }
  square = team_sum(square);
  if (threadIdx.x > 0) return;
  const bool alike = truncf(similar[pair]) != 0;
  losses[pair] = formula.loss(square, alike);
  valid[pair] = 1;
  factors[pair] = formula.factor(square, alike);
}

// sign * loss weight / N * factor * (a - b)
template <class T>
__global__ void contrastive_loss_backward_kernel(int pairs, int length, float sign, const float* loss_weight,
                                                 const float* divisor, const float* factors, const T* a,
                                                 const T* b, T* to) {
  // a, b, to: (pairs, length); factors: (pairs); loss_weight, divisor: (1)
  const int pair = team_row();
  if (pair >= pairs) return;
  const int64_t first = int64_t{pair} * length;
  const float factor = sign * (*loss_weight / *divisor) * factors[pair];
#pragma unroll 4
  for (int i = threadIdx.x; i < length; i += blockDim.x)
    to[first + i] = factor * (static_cast<float>(a[first + i]) - static_cast<float>(b[first + i]));
}

class ContrastiveLossLayer : public CudaLayer {
 public:
  explicit ContrastiveLossLayer(const Args& args)
      : CudaLayer("ContrastiveLoss", args), loss_(storages, args), formula_(args) {}

  void reshape(const Blobs& bottom, const Blobs&) override {
    pairs_ = Rows(bottom[0]->shape());
    loss_.reshape(pairs_.count, pairs_.count);
    factors_.reserve(pair_bytes());
  }

  void forward(const Context& context, const Blobs& bottom, const Blobs& top) override {
    Scratch scratch(context, 0);
    float *losses = scratch.take<float>(pair_bytes()), *valid = scratch.take<float>(pair_bytes());
    dispatch(bottom[0]->dtype(), [&](auto zero) {
      using T = decltype(zero);
      launch(context, "contrastive_loss_forward", row_teams(pairs_), contrastive_loss_forward_kernel<T>,
             formula_, pairs_.count, pairs_.length, bottom[0]->data<T>(), bottom[1]->data<T>(),
             bottom[2]->data(), losses, valid, factors());
    });
    loss_.add_up(context, "contrastive_loss_forward", losses, valid, top[0]->data(),
                 scratch.take<float>(loss_.add_up_bytes()));
  }

  void backward(const Context& context, const Blobs& top, const std::vector<bool>& propagate_down,
                const Blobs& bottom) override {
    refuse_gradients(propagate_down, 2);
    for (size_t i = 0; i < 2; ++i) {
      if (!propagate_down[i]) continue;
      dispatch(bottom[i]->dtype(), [&](auto zero) {
        using T = decltype(zero);
        launch(context, "contrastive_loss_backward", row_teams(pairs_), contrastive_loss_backward_kernel<T>,
               pairs_.count, pairs_.length, i == 0 ? 1.0f : -1.0f, top[0]->diff(), loss_.divisor(), factors(),
               bottom[0]->data<T>(), bottom[1]->data<T>(), bottom[i]->diff<T>());
      });
    }
  }

  size_t scratch_bytes() const override {
    return 2 * scratch_size(pair_bytes()) + scratch_size(loss_.add_up_bytes());
  }

 private:
  float* factors() { return static_cast<float*>(factors_.data()); }
  size_t pair_bytes() const { return static_cast<size_t>(pairs_.count) * sizeof(float); }

  LossSum loss_;
  const ContrastiveLoss formula_;
  Rows pairs_;
  Owned factors_{storages, Device::cuda};
};

REGISTER_LAYER("ContrastiveLoss", cuda, ContrastiveLossLayer);

}  // namespace
}  // namespace caffe::cuda
