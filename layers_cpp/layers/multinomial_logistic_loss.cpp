// MultinomialLogisticLoss: the formula of formulas/multinomial_logistic_loss.hpp as a loss of
// math/row_loss.hpp.
#include "formulas/multinomial_logistic_loss.hpp"

#include "math/row_loss.hpp"

namespace caffe {
namespace {

REGISTER_ROW_LOSS("MultinomialLogisticLoss", cpu, MultinomialLogisticLoss);

}  // namespace
}  // namespace caffe
