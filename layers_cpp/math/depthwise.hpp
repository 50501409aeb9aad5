// Depthwise convolution in two dimensions, channels-last: every channel is convolved with a kernel of its
// own.
//
//   y[n, p, c] = b[c] + sum over q in the kernel of W[c, q] * x[n, p * stride - pad + q * dilation, c]
//
// x, dx: (N, in, C), y, dy: (N, out, C) in memory, W: (C, kh, kw), b: (C). Sums are taken in float32. Nothing
// may overlap what is written.
#pragma once

#include <cstdint>

#include "core/dtype.hpp"

namespace caffe {

struct DepthwiseAxis {
  int64_t in, out, kernel, stride, pad, dilation;
};

struct DepthwiseShape {
  int64_t images, channels;
  DepthwiseAxis h, w;
};

// False for kernels and rows so large that what a thread keeps of them would not fit its cache.
bool depthwise_supports(const DepthwiseShape& shape);

// Floats of scratch that each of the functions below needs.
int64_t depthwise_scratch(const DepthwiseShape& shape);

// `bias` may be null; `relu` makes y = max(., 0).
template <class T>
void depthwise_forward(const DepthwiseShape& shape, const T* x, const float* weights, const float* bias,
                       bool relu, T* y, float* scratch);

// Overwrites dx.
template <class T>
void depthwise_backward_data(const DepthwiseShape& shape, const T* dy, const float* weights, T* dx,
                             float* scratch);

// Overwrites dW and db; db may be null.
template <class T>
void depthwise_backward_weights(const DepthwiseShape& shape, const T* x, const T* dy, float* dw, float* db,
                                float* scratch);

}  // namespace caffe
