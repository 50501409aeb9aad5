// ReLU6 on the GPU; formula and gradient in layers_cpp/formulas/relu6.hpp.
#include "formulas/relu6.hpp"
#include "layers/unary.hpp"

namespace caffe::cuda {

REGISTER_UNARY("ReLU6", cuda, ReLU6);

}  // namespace caffe::cuda
