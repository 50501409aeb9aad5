// ReLU6: formula and gradient in formulas/relu6.hpp.
#include "formulas/relu6.hpp"

#include "layers/unary.hpp"

namespace caffe {

REGISTER_UNARY("ReLU6", cpu, ReLU6);

}  // namespace caffe
