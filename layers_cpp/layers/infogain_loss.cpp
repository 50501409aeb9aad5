// InfogainLoss: the formula of formulas/infogain_loss.hpp as a loss of math/row_loss.hpp.
#include "formulas/infogain_loss.hpp"

#include "math/row_loss.hpp"

namespace caffe {
namespace {

REGISTER_ROW_LOSS("InfogainLoss", cpu, InfogainLoss);

}  // namespace
}  // namespace caffe
