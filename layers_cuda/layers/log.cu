// Log on the GPU; formula and gradient in layers_cpp/formulas/log.hpp.
#include "formulas/log.hpp"
#include "layers/unary.hpp"

namespace caffe::cuda {

REGISTER_UNARY("Log", cuda, Log);

}  // namespace caffe::cuda
