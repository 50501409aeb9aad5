// Sigmoid on the GPU; formula and gradient in layers_cpp/formulas/sigmoid.hpp.
#include "formulas/sigmoid.hpp"
#include "layers/unary.hpp"

namespace caffe::cuda {

REGISTER_UNARY("Sigmoid", cuda, Sigmoid);

}  // namespace caffe::cuda
