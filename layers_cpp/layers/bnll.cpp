// BNLL: formula and gradient in formulas/bnll.hpp.
#include "formulas/bnll.hpp"

#include "layers/unary.hpp"

namespace caffe {

REGISTER_UNARY("BNLL", cpu, BNLL);

}  // namespace caffe
