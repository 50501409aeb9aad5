// Swish on the GPU; formula and gradient in layers_cpp/formulas/swish.hpp.
#include "formulas/swish.hpp"
#include "layers/unary.hpp"

namespace caffe::cuda {

REGISTER_UNARY("Swish", cuda, Swish);

}  // namespace caffe::cuda
