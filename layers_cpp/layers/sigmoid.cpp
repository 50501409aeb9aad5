// Sigmoid: formula and gradient in formulas/sigmoid.hpp.
#include "formulas/sigmoid.hpp"

#include "layers/unary.hpp"

namespace caffe {

REGISTER_UNARY("Sigmoid", cpu, Sigmoid);

}  // namespace caffe
