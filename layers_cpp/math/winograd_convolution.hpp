// Winograd's algorithm (math/winograd.hpp) as passes of a convolution; null where it does not apply or pay.
#pragma once

#include "math/convolution.hpp"

namespace caffe {

std::unique_ptr<ConvolutionForward> make_winograd_forward(const ConvolutionSpec& spec);
std::unique_ptr<ConvolutionDataGradient> make_winograd_data_gradient(const ConvolutionSpec& spec);
std::unique_ptr<ConvolutionWeightGradient> make_winograd_weight_gradient(const ConvolutionSpec& spec);

}  // namespace caffe
