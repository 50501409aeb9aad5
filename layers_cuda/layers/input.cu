// Input on the GPU; as layers_cpp/layers/input.cpp: the user fills the tops' copies in the host's memory.
#include "core/cuda_layer.hpp"

namespace caffe::cuda {
namespace {

class InputLayer : public CudaLayer {
 public:
  explicit InputLayer(const Args& args) : CudaLayer("Input", args) {}

  void forward(const Context&, const Blobs&, const Blobs&) override {}
  void backward(const Context&, const Blobs&, const std::vector<bool>&, const Blobs&) override {}
};

REGISTER_LAYER("Input", cuda, InputLayer);

}  // namespace
}  // namespace caffe::cuda
