// The three passes of a convolution, each computed by the kernel that does it best for its shapes.
#pragma once

#include <memory>

#include "core/scratch.hpp"

namespace caffe {

// What the passes are made for: fixed shapes.
struct ConvolutionSpec {
  int64_t group;
  size_t axis;  // of the channels; axes before it are one
  std::vector<int64_t> kernel, stride, pad, dilation;
  const Blob *bottom, *top, *weights;  // looked at when a pass is made, not kept
  bool bias, relu;
  bool addend;         // forward adds a blob like the top before it clips; without backward only
  bool keeps_weights;  // they seldom change, as in a net that only runs forward: packed ones may be kept
  bool winograd;       // Winograd's algorithm may be used
};

// Plain float32 weights, (O, C / group, kernel...), and whether they may differ from the last run's.
struct ConvolutionWeights {
  float* plain;
  bool changed;
};

// `scratch` says what of the context's scratch the caller uses itself.

class ConvolutionForward {
 public:
  virtual ~ConvolutionForward() = default;
  // y = W x + bias + addend, clipped where the spec says so. `bias` and `addend` only if the spec has them.
  virtual void run(const Context& context, Scratch scratch, void* x, ConvolutionWeights weights, float* bias,
                   void* addend, void* y) = 0;
  virtual size_t private_bytes() const { return 0; }
  virtual size_t scratch_bytes() const = 0;
};

class ConvolutionDataGradient {
 public:
  virtual ~ConvolutionDataGradient() = default;
  // dx = W^T dy, W plain.
  virtual void run(const Context& context, Scratch scratch, void* dy, float* weights, void* dx) = 0;
  virtual size_t scratch_bytes() const = 0;
};

class ConvolutionWeightGradient {
 public:
  virtual ~ConvolutionWeightGradient() = default;
  // Adds to the diffs of the learned blobs; null: not wanted.
  virtual void run(const Context& context, Scratch scratch, void* x, void* dy, Blob* weights, Blob* bias) = 0;
  virtual size_t scratch_bytes() const = 0;
};

std::unique_ptr<ConvolutionForward> make_forward(const ConvolutionSpec& spec);
std::unique_ptr<ConvolutionDataGradient> make_data_gradient(const ConvolutionSpec& spec);
std::unique_ptr<ConvolutionWeightGradient> make_weight_gradient(const ConvolutionSpec& spec);

}  // namespace caffe
