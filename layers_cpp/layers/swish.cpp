// Swish: formula and gradient in formulas/swish.hpp.
#include "formulas/swish.hpp"

#include "layers/unary.hpp"

namespace caffe {

REGISTER_UNARY("Swish", cpu, Swish);

}  // namespace caffe
