// SoftmaxWithLoss on the GPU; its CPU twin is layers_cpp/layers/softmax_with_loss.cpp.
#include "formulas/softmax_with_loss.hpp"
#include "math/row_loss.hpp"

namespace caffe::cuda {
namespace {

REGISTER_ROW_LOSS("SoftmaxWithLoss", cuda, SoftmaxWithLoss);

}  // namespace
}  // namespace caffe::cuda
