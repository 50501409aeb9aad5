// HingeLoss on the GPU; its CPU twin is layers_cpp/layers/hinge_loss.cpp.
#include "formulas/hinge_loss.hpp"
#include "math/row_loss.hpp"

namespace caffe::cuda {
namespace {

REGISTER_ROW_LOSS("HingeLoss", cuda, HingeLoss);

}  // namespace
}  // namespace caffe::cuda
