// Clip: formula and gradient in formulas/clip.hpp.
#include "formulas/clip.hpp"

#include "layers/unary.hpp"

namespace caffe {

REGISTER_UNARY("Clip", cpu, Clip);

}  // namespace caffe
