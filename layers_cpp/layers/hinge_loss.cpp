// HingeLoss: the formula of formulas/hinge_loss.hpp as a loss of math/row_loss.hpp.
#include "formulas/hinge_loss.hpp"

#include "math/row_loss.hpp"

namespace caffe {
namespace {

REGISTER_ROW_LOSS("HingeLoss", cpu, HingeLoss);

}  // namespace
}  // namespace caffe
