// Exp on the GPU; formula and gradient in layers_cpp/formulas/exp.hpp.
#include "formulas/exp.hpp"
#include "layers/unary.hpp"

namespace caffe::cuda {

REGISTER_UNARY("Exp", cuda, Exp);

}  // namespace caffe::cuda
