// BNLL on the GPU; formula and gradient in layers_cpp/formulas/bnll.hpp.
#include "formulas/bnll.hpp"
#include "layers/unary.hpp"

namespace caffe::cuda {

REGISTER_UNARY("BNLL", cuda, BNLL);

}  // namespace caffe::cuda
