// EuclideanLoss on the GPU; its CPU twin is layers_cpp/layers/euclidean_loss.cpp.
#include "formulas/euclidean_loss.hpp"
#include "math/pair_loss.hpp"

namespace caffe::cuda {
namespace {

REGISTER_PAIR_LOSS("EuclideanLoss", cuda, EuclideanLoss);

}  // namespace
}  // namespace caffe::cuda
