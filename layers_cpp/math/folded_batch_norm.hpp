// A BatchNorm with stored statistics, and the Scale after it, folded into the weights of the layer before:
//
//   s (W x + b - mean) / sqrt(variance + eps) + t = W' x + b',   W' = a W,  b' = a (b - mean) + t,
//   a = s / sqrt(variance + eps) for each output channel
#pragma once

#include <cmath>
#include <vector>

#include "core/layer.hpp"

namespace caffe {

class FoldedBatchNorm {
 public:
  // `params`: weights, bias if `has_bias`, then mean, variance and factor of BatchNorm, then s and t if
  // `has_scale`.
  void create(const Blobs& params, bool has_bias, bool has_scale, float eps) {
    params_ = params;
    has_bias_ = has_bias;
    has_scale_ = has_scale;
    eps_ = eps;
    fresh_.assign(params.size(), Freshness());
    bias_.resize(static_cast<size_t>(params[0]->dim(0)));
  }

  // Whether anything it is made of may have changed since the last call.
  bool stale() {
    bool stale = false;
    for (size_t i = 0; i < params_.size(); ++i) stale |= fresh_[i].stale(params_[i]->data_storage());
    return stale;
  }

  // Writes W' to `weights` and keeps b'.
  void fold(float* weights) {
    const size_t statistics = has_bias_ ? 2 : 1;
    const float *mean = params_[statistics]->data(), *variance = params_[statistics + 1]->data();
    const float factor = params_[statistics + 2]->data()[0], inverse = factor == 0 ? 0 : 1 / factor;
    const int64_t outputs = params_[0]->dim(0), inputs = params_[0]->count() / outputs;
    const float* plain = params_[0]->data();
    for (int64_t o = 0; o < outputs; ++o) {
      const float s = has_scale_ ? params_[statistics + 3]->data()[o] : 1.0f;
      const float t = has_scale_ ? params_[statistics + 4]->data()[o] : 0.0f;
      const float a = s / std::sqrt(inverse * variance[o] + eps_);
      const float bias = has_bias_ ? params_[1]->data()[o] : 0.0f;
      bias_[static_cast<size_t>(o)] = a * (bias - inverse * mean[o]) + t;
#pragma omp simd
      for (int64_t i = o * inputs; i < (o + 1) * inputs; ++i) weights[i] = a * plain[i];
    }
  }

  float* bias() { return bias_.data(); }
  size_t bytes() const { return bias_.size() * sizeof(float); }

 private:
  Blobs params_;
  std::vector<Freshness> fresh_;
  std::vector<float> bias_;
  bool has_bias_ = false, has_scale_ = false;
  float eps_ = 0;
};

}  // namespace caffe
