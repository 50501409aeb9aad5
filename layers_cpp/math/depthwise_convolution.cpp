#include "math/depthwise_convolution.hpp"

#include <algorithm>
#include <optional>

#include "math/depthwise.hpp"
#include "math/elementwise.hpp"

namespace caffe {
namespace {

std::optional<DepthwiseShape> shape_of(const ConvolutionSpec& spec) {
  const Blob &x = *spec.bottom, &y = *spec.top;
  if (spec.axis != 1 || spec.kernel.size() != 2 || x.layout() != Layout::channels_last ||
      spec.group != x.dim(1) || spec.group != y.dim(1))
    return std::nullopt;
  const auto axis = [&](size_t i) {
    return DepthwiseAxis{x.dim(2 + i),   y.dim(2 + i), spec.kernel[i],
                         spec.stride[i], spec.pad[i],  spec.dilation[i]};
  };
  const DepthwiseShape shape{x.dim(0), x.dim(1), axis(0), axis(1)};
  return depthwise_supports(shape) ? std::optional(shape) : std::nullopt;
}

// Measured on two cores with AVX-512: oneDNN's forward is as fast on large maps and faster with a stride.
bool forward_pays(const DepthwiseShape& shape) {
  return shape.h.stride == 1 && shape.w.stride == 1 && shape.h.out * shape.w.out <= 56 * 56;
}

size_t scratch_bytes_of(const DepthwiseShape& shape) {
  return static_cast<size_t>(depthwise_scratch(shape)) * sizeof(float);
}

size_t weight_bytes_of(const DepthwiseShape& shape) {
  return static_cast<size_t>(shape.channels * shape.h.kernel * shape.w.kernel) * sizeof(float);
}

class DepthwiseForward : public ConvolutionForward {
 public:
  DepthwiseForward(const DepthwiseShape& shape, const ConvolutionSpec& spec)
      : shape_(shape), type_(spec.bottom->dtype()), relu_(spec.relu), keeps_(spec.keeps_weights) {
    if (keeps_) kept_.reserve(weight_bytes_of(shape_));
  }

  void run(const Context&, Scratch scratch, void* x, ConvolutionWeights weights, float* bias,
           void* /*addend*/, void* y) override {
    const float* plain = keeps_ ? kept(weights) : weights.plain;
    auto* rest = scratch.take<float>(scratch_bytes());
    dispatch(type_, [&](auto zero) {
      using T = decltype(zero);
      depthwise_forward(shape_, static_cast<const T*>(x), plain, bias, relu_, static_cast<T*>(y), rest);
    });
  }
  size_t private_bytes() const override { return kept_.bytes(); }
  size_t scratch_bytes() const override { return scratch_bytes_of(shape_); }

 private:
  // Folded weights are there only when they have changed.
  const float* kept(ConvolutionWeights weights) {
    auto* kept = static_cast<float*>(kept_.data());
    if (weights.changed) std::copy_n(weights.plain, weight_bytes_of(shape_) / sizeof(float), kept);
    return kept;
  }

  const DepthwiseShape shape_;
  const DType type_;
  const bool relu_, keeps_;
  Storage kept_;
};

class DepthwiseDataGradient : public ConvolutionDataGradient {
 public:
  DepthwiseDataGradient(const DepthwiseShape& shape, const ConvolutionSpec& spec)
      : shape_(shape), type_(spec.bottom->dtype()) {}

  void run(const Context&, Scratch scratch, void* dy, float* weights, void* dx) override {
    auto* rest = scratch.take<float>(scratch_bytes());
    dispatch(type_, [&](auto zero) {
      using T = decltype(zero);
      depthwise_backward_data(shape_, static_cast<const T*>(dy), weights, static_cast<T*>(dx), rest);
    });
  }
  size_t scratch_bytes() const override { return scratch_bytes_of(shape_); }

 private:
  const DepthwiseShape shape_;
  const DType type_;
};

class DepthwiseWeightGradient : public ConvolutionWeightGradient {
 public:
  DepthwiseWeightGradient(const DepthwiseShape& shape, const ConvolutionSpec& spec)
      : shape_(shape), type_(spec.bottom->dtype()) {}

  void run(const Context&, Scratch scratch, void* x, void* dy, Blob* weights, Blob* bias) override {
    auto* dw = scratch.take<float>(weight_bytes_of(shape_));
    auto* db = bias ? scratch.take<float>(bias_bytes()) : nullptr;
    auto* rest = scratch.take<float>(scratch_bytes_of(shape_));
    dispatch(type_, [&](auto zero) {
      using T = decltype(zero);
      depthwise_backward_weights(shape_, static_cast<const T*>(x), static_cast<const T*>(dy), dw, db, rest);
    });
    if (weights) add_to(weights->diff(), dw, weights->count());
    if (bias) add_to(bias->diff(), db, shape_.channels);
  }
  size_t scratch_bytes() const override {
    return scratch_size(weight_bytes_of(shape_)) + scratch_size(bias_bytes()) + scratch_bytes_of(shape_);
  }

 private:
  size_t bias_bytes() const { return static_cast<size_t>(shape_.channels) * sizeof(float); }

  const DepthwiseShape shape_;
  const DType type_;
};

}  // namespace

std::unique_ptr<ConvolutionForward> make_depthwise_forward(const ConvolutionSpec& spec) {
  const auto shape = shape_of(spec);
  if (!shape || !forward_pays(*shape) || spec.addend) return nullptr;
  return std::make_unique<DepthwiseForward>(*shape, spec);
}

std::unique_ptr<ConvolutionDataGradient> make_depthwise_data_gradient(const ConvolutionSpec& spec) {
  const auto shape = shape_of(spec);
  return shape ? std::make_unique<DepthwiseDataGradient>(*shape, spec) : nullptr;
}

std::unique_ptr<ConvolutionWeightGradient> make_depthwise_weight_gradient(const ConvolutionSpec& spec) {
  const auto shape = shape_of(spec);
  return shape ? std::make_unique<DepthwiseWeightGradient>(*shape, spec) : nullptr;
}

}  // namespace caffe
