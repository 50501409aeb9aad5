// AbsVal on the GPU; formula and gradient in layers_cpp/formulas/abs_val.hpp.
#include "formulas/abs_val.hpp"
#include "layers/unary.hpp"

namespace caffe::cuda {

REGISTER_UNARY("AbsVal", cuda, AbsVal);

}  // namespace caffe::cuda
