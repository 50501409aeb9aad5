// Clip on the GPU; formula and gradient in layers_cpp/formulas/clip.hpp.
#include "formulas/clip.hpp"
#include "layers/unary.hpp"

namespace caffe::cuda {

REGISTER_UNARY("Clip", cuda, Clip);

}  // namespace caffe::cuda
