// InfogainLoss on the GPU; its CPU twin is layers_cpp/layers/infogain_loss.cpp.
#include "formulas/infogain_loss.hpp"
#include "math/row_loss.hpp"

namespace caffe::cuda {
namespace {

REGISTER_ROW_LOSS("InfogainLoss", cuda, InfogainLoss);

}  // namespace
}  // namespace caffe::cuda
