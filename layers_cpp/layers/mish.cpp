// Mish: formula and gradient in formulas/mish.hpp.
#include "formulas/mish.hpp"

#include "layers/unary.hpp"

namespace caffe {

REGISTER_UNARY("Mish", cpu, Mish);

}  // namespace caffe
