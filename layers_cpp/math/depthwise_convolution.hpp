// Own depthwise kernels (math/depthwise.hpp) as passes of a convolution; null where they do not apply or pay.
#pragma once

#include "math/convolution.hpp"

namespace caffe {

std::unique_ptr<ConvolutionForward> make_depthwise_forward(const ConvolutionSpec& spec);
std::unique_ptr<ConvolutionDataGradient> make_depthwise_data_gradient(const ConvolutionSpec& spec);
std::unique_ptr<ConvolutionWeightGradient> make_depthwise_weight_gradient(const ConvolutionSpec& spec);

}  // namespace caffe
