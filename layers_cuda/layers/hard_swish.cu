// HardSwish on the GPU; formula and gradient in layers_cpp/formulas/hard_swish.hpp.
#include "formulas/hard_swish.hpp"
#include "layers/unary.hpp"

namespace caffe::cuda {

REGISTER_UNARY("HardSwish", cuda, HardSwish);

}  // namespace caffe::cuda
