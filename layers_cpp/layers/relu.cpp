// ReLU: formula and gradient in formulas/relu.hpp.
#include "formulas/relu.hpp"

#include "layers/unary.hpp"

namespace caffe {

REGISTER_UNARY("ReLU", cpu, ReLU);

}  // namespace caffe
