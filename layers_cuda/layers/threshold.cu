// Threshold on the GPU; formula and gradient in layers_cpp/formulas/threshold.hpp.
#include "formulas/threshold.hpp"
#include "layers/unary.hpp"

namespace caffe::cuda {

REGISTER_UNARY("Threshold", cuda, Threshold);

}  // namespace caffe::cuda
