// HardSigmoid on the GPU; formula and gradient in layers_cpp/formulas/hard_sigmoid.hpp.
#include "formulas/hard_sigmoid.hpp"
#include "layers/unary.hpp"

namespace caffe::cuda {

REGISTER_UNARY("HardSigmoid", cuda, HardSigmoid);

}  // namespace caffe::cuda
