#include "math/convolution.hpp"

#include "math/depthwise_convolution.hpp"
#include "math/onednn_convolution.hpp"
#include "math/pointwise_convolution.hpp"
#include "math/winograd_convolution.hpp"

namespace caffe {

std::unique_ptr<ConvolutionForward> make_forward(const ConvolutionSpec& spec) {
  if (auto depthwise = make_depthwise_forward(spec)) return depthwise;
  if (auto winograd = make_winograd_forward(spec)) return winograd;
  return make_onednn_forward(spec);
}

std::unique_ptr<ConvolutionDataGradient> make_data_gradient(const ConvolutionSpec& spec) {
  if (auto depthwise = make_depthwise_data_gradient(spec)) return depthwise;
  if (auto winograd = make_winograd_data_gradient(spec)) return winograd;
  return make_onednn_data_gradient(spec);
}

std::unique_ptr<ConvolutionWeightGradient> make_weight_gradient(const ConvolutionSpec& spec) {
  if (auto depthwise = make_depthwise_weight_gradient(spec)) return depthwise;
  if (auto winograd = make_winograd_weight_gradient(spec)) return winograd;
  if (auto pointwise = make_pointwise_weight_gradient(spec)) return pointwise;
  return make_onednn_weight_gradient(spec);
}

}  // namespace caffe
