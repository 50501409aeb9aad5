// The three passes of a convolution on channels-last arrays in device memory, planned for fixed shapes.
#pragma once

#include <memory>
#include <vector>

#include "core/layer.hpp"

namespace caffe::cuda {

// x: (N, in..., C), w: (O, kernel..., C / group), y: (N, out..., O), all of one type; the bias (O) is
// float32. Two or three spatial axes. Sums are taken in float32, or for float32 arrays with `tf32` of
// products whose factors are rounded to TF32.
struct ConvolutionSpec {
  int64_t items, channels, outputs, group;
  std::vector<int64_t> in, out, kernel, stride, pad, dilation;
  DType dtype = DType::float32;
  bool tf32 = false;
  // What forward does beside the products, in this order: y = max(W x + bias + addend, 0).
  bool bias = false, addend = false, relu = false;
  // Whether the data gradient is added to what dx holds, instead of overwriting it.
  bool accumulates = false;
};

// All of them queue their work on the context's stream and return. Beyond `used` bytes, which the caller
// keeps for itself, they may use scratch_bytes() of the context's scratch.

class ConvolutionForward {
 public:
  virtual ~ConvolutionForward() = default;
  // `bias` and `addend` only if the spec has them; `addend` is like y.
  virtual void run(const Context& context, size_t used, const void* x, const void* w, const float* bias,
                   const void* addend, void* y) = 0;
  virtual size_t scratch_bytes() const = 0;
};

class ConvolutionDataGradient {
 public:
  virtual ~ConvolutionDataGradient() = default;
  virtual void run(const Context& context, size_t used, const void* dy, const void* w, void* dx) = 0;
  virtual size_t scratch_bytes() const = 0;
};

class ConvolutionWeightGradient {
 public:
  virtual ~ConvolutionWeightGradient() = default;
  // dw is overwritten; it has the type of the arrays.
  virtual void run(const Context& context, size_t used, const void* x, const void* dy, void* dw) = 0;
  virtual size_t scratch_bytes() const = 0;
};

std::unique_ptr<ConvolutionForward> make_forward(const ConvolutionSpec& spec);
std::unique_ptr<ConvolutionDataGradient> make_data_gradient(const ConvolutionSpec& spec);
std::unique_ptr<ConvolutionWeightGradient> make_weight_gradient(const ConvolutionSpec& spec);

}  // namespace caffe::cuda
