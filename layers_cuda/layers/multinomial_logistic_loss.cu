// MultinomialLogisticLoss on the GPU; its CPU twin is layers_cpp/layers/multinomial_logistic_loss.cpp.
#include "formulas/multinomial_logistic_loss.hpp"
#include "math/row_loss.hpp"

namespace caffe::cuda {
namespace {

REGISTER_ROW_LOSS("MultinomialLogisticLoss", cuda, MultinomialLogisticLoss);

}  // namespace
}  // namespace caffe::cuda
