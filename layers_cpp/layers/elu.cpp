// ELU: formula and gradient in formulas/elu.hpp.
#include "formulas/elu.hpp"

#include "layers/unary.hpp"

namespace caffe {

REGISTER_UNARY("ELU", cpu, ELU);

}  // namespace caffe
