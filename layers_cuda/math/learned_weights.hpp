// Learned weights, which are float32, in the type of the arrays they meet in a product.
#pragma once

#include "core/blob.hpp"
#include "math/elementwise.hpp"

namespace caffe::cuda {

struct ConvertedWeight {
  __device__ float operator()(float value) const { return value; }
};

struct GradientSum {
  __device__ float operator()(float sum, float addend) const { return sum + addend; }
};

// In bfloat16 a copy, made again when the weights may have changed.
class LearnedWeights {
 public:
  void create(const Blob& weights, DType dtype) {
    dtype_ = dtype;
    fresh_.reset();
    if (dtype == DType::bfloat16) copy_.reserve(bytes_of(weights));
  }

  // On the device; laid out as the blob.
  const void* get(const Context& context, Blob& weights) {
    if (dtype_ == DType::float32) return weights.data<void>();
    if (fresh_.stale(weights.data_storage()))
      elementwise(context, "convert_weights", ConvertedWeight(), weights.count(),
                  static_cast<bfloat16*>(copy_.overwrite()), static_cast<const float*>(weights.data()));
    return copy_.data();
  }

  size_t bytes() const { return copy_.bytes(); }

 private:
  static size_t bytes_of(const Blob& weights) {
    return static_cast<size_t>(weights.count()) * size_of(DType::bfloat16);
  }

  DType dtype_ = DType::float32;
  Storage copy_{Device::cuda};
  Freshness fresh_;
};

// Computes a gradient of weights by compute(dw), and adds it to the blob's diff. `dw` has room for a gradient
// of type T; a float32 one goes straight into a diff that is known to be zero.
template <class T, class Compute>
void add_gradient(const Context& context, T* dw, Blob& weights, Compute&& compute) {
  Storage& diff = weights.diff_storage();
  const bool first = diff.zero();
  auto* sum = static_cast<float*>(first ? diff.overwrite() : diff.data());
  if constexpr (std::is_same_v<T, float>)
    if (first) return compute(sum);
  compute(dw);
  const T* computed = dw;
  const float* before = sum;
  if (first)
    elementwise(context, "store_gradient", ConvertedWeight(), weights.count(), sum, computed);
  else
    elementwise(context, "add_gradient", GradientSum(), weights.count(), sum, before, computed);
}

}  // namespace caffe::cuda
