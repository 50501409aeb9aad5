// Convolution by oneDNN: any number of spatial axes, stride, dilation, groups and layout.
#pragma once

#include "math/convolution.hpp"

namespace caffe {

std::unique_ptr<ConvolutionForward> make_onednn_forward(const ConvolutionSpec& spec);
std::unique_ptr<ConvolutionDataGradient> make_onednn_data_gradient(const ConvolutionSpec& spec);
std::unique_ptr<ConvolutionWeightGradient> make_onednn_weight_gradient(const ConvolutionSpec& spec);

}  // namespace caffe
