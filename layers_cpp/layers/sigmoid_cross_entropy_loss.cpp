// SigmoidCrossEntropyLoss: the formula of formulas/sigmoid_cross_entropy_loss.hpp as a loss of
// math/pair_loss.hpp.
#include "formulas/sigmoid_cross_entropy_loss.hpp"

#include "math/pair_loss.hpp"

namespace caffe {
namespace {

REGISTER_PAIR_LOSS("SigmoidCrossEntropyLoss", cpu, SigmoidCrossEntropyLoss);

}  // namespace
}  // namespace caffe
