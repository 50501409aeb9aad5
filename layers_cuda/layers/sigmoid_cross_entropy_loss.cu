// SigmoidCrossEntropyLoss on the GPU; its CPU twin is layers_cpp/layers/sigmoid_cross_entropy_loss.cpp.
#include "formulas/sigmoid_cross_entropy_loss.hpp"
#include "math/pair_loss.hpp"

namespace caffe::cuda {
namespace {

REGISTER_PAIR_LOSS("SigmoidCrossEntropyLoss", cuda, SigmoidCrossEntropyLoss);

}  // namespace
}  // namespace caffe::cuda
