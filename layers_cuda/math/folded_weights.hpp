// A BatchNorm with stored statistics, and the Scale after it, folded into the weights of a convolution;
// formulas in layers_cpp/math/folded_batch_norm.hpp.
#pragma once

#include <vector>

#include "core/layer.hpp"

namespace caffe::cuda {

class FoldedWeights {
 public:
  // `params`: weights, bias if `has_bias`, then mean, variance and factor of BatchNorm, then s and t if
  // `has_scale`. The folded weights have type `dtype`.
  void create(const Blobs& params, bool has_bias, bool has_scale, float eps, DType dtype);

  // Folds again if anything may have changed since the last call. Queued.
  void update(const Context& context);

  // On the device; laid out as the weights and the bias.
  const void* weights() { return weights_.data(); }
  const float* bias() { return static_cast<const float*>(bias_.data()); }
  size_t bytes() const { return weights_.bytes() + bias_.bytes(); }

 private:
  bool stale();

  Blobs params_;
  std::vector<Freshness> fresh_;
  Storage weights_{Device::cuda}, bias_{Device::cuda};
  DType dtype_ = DType::float32;
  bool has_bias_ = false, has_scale_ = false;
  float eps_ = 0;
};

}  // namespace caffe::cuda
