// HardSwish: formula and gradient in formulas/hard_swish.hpp.
#include "formulas/hard_swish.hpp"

#include "layers/unary.hpp"

namespace caffe {

REGISTER_UNARY("HardSwish", cpu, HardSwish);

}  // namespace caffe
