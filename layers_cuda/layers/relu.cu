// ReLU on the GPU; formula and gradient as in layers_cpp/layers/relu.cpp.
#include "core/cuda_layer.hpp"
#include "math/elementwise.hpp"

namespace caffe::cuda {
namespace {

struct ReLUForward {
  float slope;
  __device__ float operator()(float x) const {
    const float negative = slope == 0 ? 0.0f : slope * x;  // 0 * -inf would be NaN
    return x > 0 ? x : (x <= 0 ? negative : x);
  }
};

struct ReLUBackward {
  float slope;
  __device__ float operator()(float y, float dy) const { return y > 0 ? dy : slope * dy; }
};

class ReLULayer : public CudaLayer {
 public:
  explicit ReLULayer(const Args& args) : CudaLayer("ReLU", args), slope_(args.real("negative_slope")) {}

  void forward(const Context& context, const Blobs& bottom, const Blobs& top) override {
    dispatch(top[0]->dtype(), [&](auto zero) {
      using T = decltype(zero);
      elementwise(context, "relu_forward", ReLUForward{slope_}, top[0]->count(), top[0]->data<T>(),
                  bottom[0]->data<T>());
    });
  }

  void backward(const Context& context, const Blobs& top, const std::vector<bool>& propagate_down,
                const Blobs& bottom) override {
    if (!propagate_down[0]) return;
    const BlobPtr& sign = slope_ < 0 ? bottom[0] : top[0];  // whose sign decides
    dispatch(top[0]->dtype(), [&](auto zero) {
      using T = decltype(zero);
      elementwise(context, "relu_backward", ReLUBackward{slope_}, top[0]->count(), bottom[0]->diff<T>(),
                  sign->data<T>(), top[0]->diff<T>());
    });
  }

 private:
  const float slope_;
};

REGISTER_LAYER("ReLU", cuda, ReLULayer);

}  // namespace
}  // namespace caffe::cuda
