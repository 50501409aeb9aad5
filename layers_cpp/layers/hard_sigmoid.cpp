// HardSigmoid: formula and gradient in formulas/hard_sigmoid.hpp.
#include "formulas/hard_sigmoid.hpp"

#include "layers/unary.hpp"

namespace caffe {

REGISTER_UNARY("HardSigmoid", cpu, HardSigmoid);

}  // namespace caffe
