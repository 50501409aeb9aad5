// AbsVal: formula and gradient in formulas/abs_val.hpp.
#include "formulas/abs_val.hpp"

#include "layers/unary.hpp"

namespace caffe {

REGISTER_UNARY("AbsVal", cpu, AbsVal);

}  // namespace caffe
