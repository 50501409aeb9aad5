// ELU on the GPU; formula and gradient in layers_cpp/formulas/elu.hpp.
#include "formulas/elu.hpp"
#include "layers/unary.hpp"

namespace caffe::cuda {

REGISTER_UNARY("ELU", cuda, ELU);

}  // namespace caffe::cuda
