// Reshape on the GPU; as layers_cpp/layers/reshape.cpp: the top shares data and diff with the bottom.
#include "core/cuda_layer.hpp"

namespace caffe::cuda {
namespace {

class ReshapeLayer : public CudaLayer {
 public:
  explicit ReshapeLayer(const Args& args) : CudaLayer("Reshape", args) {}

  void reshape(const Blobs& bottom, const Blobs& top) override {
    top[0]->share_data(*bottom[0]);
    top[0]->share_diff(*bottom[0]);
  }

  void forward(const Context&, const Blobs&, const Blobs&) override {}
  void backward(const Context&, const Blobs&, const std::vector<bool>&, const Blobs&) override {}
};

REGISTER_LAYER("Reshape", cuda, ReshapeLayer);

}  // namespace
}  // namespace caffe::cuda
