// Power: formula and gradient in formulas/power.hpp.
#include "formulas/power.hpp"

#include "layers/unary.hpp"

namespace caffe {

REGISTER_UNARY("Power", cpu, ConstantPower, FirstPower, SecondPower, Power);

}  // namespace caffe
