// Threshold: formula and gradient in formulas/threshold.hpp.
#include "formulas/threshold.hpp"

#include "layers/unary.hpp"

namespace caffe {

REGISTER_UNARY("Threshold", cpu, Threshold);

}  // namespace caffe
