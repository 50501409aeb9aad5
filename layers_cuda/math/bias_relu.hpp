// What follows a convolution or a matrix product, where the library's kernel does not do it along the way.
#pragma once

#include "core/layer.hpp"

namespace caffe::cuda {

// y = max(y + bias + addend, 0) on a (rows, channels) array of `type`, in place. What is null is left out, as
// is the clipping unless `relu`. The bias (channels) is float32, the addend like y.
void add_bias_relu(const Context& context, DType type, int64_t rows, int64_t channels, const float* bias,
                   const void* addend, bool relu, void* y);

}  // namespace caffe::cuda
