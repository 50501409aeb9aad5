// Parameter on the GPU; as layers_cpp/layers/parameter.cpp.
#include "core/cuda_layer.hpp"
#include "math/learned_weights.hpp"

namespace caffe::cuda {
namespace {

class ParameterLayer : public CudaLayer {
 public:
  explicit ParameterLayer(const Args& args) : CudaLayer("Parameter", args) {}

  void reshape(const Blobs&, const Blobs& top) override {
    top[0]->share_data(*params[0]);
    if (!runs_backward) top[0]->share_diff(*params[0]);
  }

  void forward(const Context&, const Blobs&, const Blobs&) override {}

  void backward(const Context& context, const Blobs& top, const std::vector<bool>&, const Blobs&) override {
    if (!param_propagate_down[0]) return;
    float* sum = params[0]->diff();
    elementwise(context, "parameter_backward", GradientSum(), params[0]->count(), sum,
                static_cast<const float*>(sum), static_cast<const float*>(top[0]->diff()));
  }
};

REGISTER_LAYER("Parameter", cuda, ParameterLayer);

}  // namespace
}  // namespace caffe::cuda
