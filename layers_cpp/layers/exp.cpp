// Exp: formula and gradient in formulas/exp.hpp.
#include "formulas/exp.hpp"

#include "layers/unary.hpp"

namespace caffe {

REGISTER_UNARY("Exp", cpu, Exp);

}  // namespace caffe
