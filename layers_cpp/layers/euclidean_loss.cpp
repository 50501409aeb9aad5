// EuclideanLoss: the formula of formulas/euclidean_loss.hpp as a loss of math/pair_loss.hpp.
#include "formulas/euclidean_loss.hpp"

#include "math/pair_loss.hpp"

namespace caffe {
namespace {

REGISTER_PAIR_LOSS("EuclideanLoss", cpu, EuclideanLoss);

}  // namespace
}  // namespace caffe
