// Mish on the GPU; formula and gradient in layers_cpp/formulas/mish.hpp.
#include "formulas/mish.hpp"
#include "layers/unary.hpp"

namespace caffe::cuda {

REGISTER_UNARY("Mish", cuda, Mish);

}  // namespace caffe::cuda
