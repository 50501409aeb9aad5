// Power on the GPU; formula and gradient in layers_cpp/formulas/power.hpp.
#include "formulas/power.hpp"
#include "layers/unary.hpp"

namespace caffe::cuda {

REGISTER_UNARY("Power", cuda, ConstantPower, FirstPower, SecondPower, Power);

}  // namespace caffe::cuda
