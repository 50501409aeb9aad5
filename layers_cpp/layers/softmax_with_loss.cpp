// SoftmaxWithLoss: the formula of formulas/softmax_with_loss.hpp as a loss of math/row_loss.hpp.
#include "formulas/softmax_with_loss.hpp"

#include "math/row_loss.hpp"

namespace caffe {
namespace {

REGISTER_ROW_LOSS("SoftmaxWithLoss", cpu, SoftmaxWithLoss);

}  // namespace
}  // namespace caffe
