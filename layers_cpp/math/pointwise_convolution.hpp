// The gradient of the weights of a convolution with a kernel of one, for channels-last float32 maps:
//
//   dW[o, c] = sum over positions p of dy[p, o] * x[p * stride, c]
//
// oneDNN 3.2 is slow with it where there are many positions and more outputs than channels, or few outputs.
#pragma once

#include "math/convolution.hpp"

namespace caffe {

// Null where it does not apply or pay.
std::unique_ptr<ConvolutionWeightGradient> make_pointwise_weight_gradient(const ConvolutionSpec& spec);

}  // namespace caffe
