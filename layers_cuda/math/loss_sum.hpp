// The last step of a loss: what its kernels found is added up and divided
// (layers_cpp/math/loss_normalizer.hpp).
//
// The sum of the terms, the number of valid labels and the divisor, which backward needs, never leave the
// device, so that a loss can be recorded.
#pragma once

#include "math/coefficient_sums.hpp"
#include "math/loss_normalizer.hpp"

namespace caffe::cuda {

// Sums of the losses, and of the valid labels.
struct SumLosses {
  using Value = float;
  static constexpr int kInputs = 2, kSums = 2;
  struct Channel {};

  __device__ Channel channel(int) const { return {}; }
  __device__ void add(const Channel&, const float (&values)[2], float (&sums)[2]) const {
    sums[0] += values[0];
    sums[1] += values[1];
  }

  const float* in[kInputs];
};

struct FinishLoss {
  __device__ void operator()(int, const double (&sums)[2]) const {
    const double z = count_valid ? sums[1] : fixed;
    *divisor = static_cast<float>(fmax(1.0, z));
    *loss = static_cast<float>(sums[0] / fmax(1.0, z));
  }

  bool count_valid;
  double fixed;  // divisor, else
  float *loss, *divisor;
};

class LossSum {
 public:
  LossSum(Owner& owner, const Args& args) : normalizer_(args), divisor_(owner, Device::cuda) {}

  void reshape(int64_t labels, int64_t items) {
    normalizer_.reshape(labels, items);
    divisor_.reserve(sizeof(float));
  }

  const LossNormalizer& normalizer() const { return normalizer_; }
  const float* divisor() { return static_cast<const float*>(divisor_.data()); }

  FinishLoss finish(float* loss) {
    return {normalizer_.counts_valid(), normalizer_.divisor(0), loss, static_cast<float*>(divisor_.data())};
  }

  // Queues the sum of a loss for each label, and of 1 for each that is valid; losses, valid: (labels).
  void add_up(const Context& context, const char* name, const float* losses, const float* valid, float* loss,
              float* partials) {
    coefficient_sums(context, name, spread(), SumLosses{{losses, valid}}, finish(loss), partials);
  }
  size_t add_up_bytes() const { return partials_bytes<SumLosses>(spread()); }  // of `partials`

 private:
  Spread spread() const { return {1, 1, normalizer_.labels(), 1}; }

  LossNormalizer normalizer_;
  Owned divisor_;
};

}  // namespace caffe::cuda
