// ReLU on the GPU; formula and gradient in layers_cpp/formulas/relu.hpp.
#include "formulas/relu.hpp"
#include "layers/unary.hpp"

namespace caffe::cuda {

REGISTER_UNARY("ReLU", cuda, ReLU);

}  // namespace caffe::cuda
