// Log: formula and gradient in formulas/log.hpp.
#include "formulas/log.hpp"

#include "layers/unary.hpp"

namespace caffe {

REGISTER_UNARY("Log", cpu, Log);

}  // namespace caffe
