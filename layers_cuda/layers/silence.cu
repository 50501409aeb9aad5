// Silence on the GPU; as layers_cpp/layers/silence.cpp: backward sets wanted diffs to zero.
#include "core/accelerator.hpp"
#include "core/cuda_layer.hpp"

namespace caffe::cuda {
namespace {

class SilenceLayer : public CudaLayer {
 public:
  explicit SilenceLayer(const Args& args) : CudaLayer("Silence", args) {}

  void forward(const Context&, const Blobs&, const Blobs&) override {}

  void backward(const Context&, const Blobs&, const std::vector<bool>& propagate_down,
                const Blobs& bottom) override {
    for (size_t i = 0; i < bottom.size(); ++i)
      if (propagate_down[i]) accelerator().clear(bottom[i]->diff<void>(), bottom[i]->bytes());
  }
};

REGISTER_LAYER("Silence", cuda, SilenceLayer);

}  // namespace
}  // namespace caffe::cuda
