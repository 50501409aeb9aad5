// TanH: formula and gradient in formulas/tanh.hpp.
#include "formulas/tanh.hpp"

#include "layers/unary.hpp"

namespace caffe {

REGISTER_UNARY("TanH", cpu, TanH);

}  // namespace caffe
