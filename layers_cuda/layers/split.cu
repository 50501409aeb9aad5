// Split on the GPU; as layers_cpp/layers/split.cpp. The diffs of the tops are added in one pass, 16 bytes a
// thread and diff.
#include "core/accelerator.hpp"
#include "core/cuda_layer.hpp"
#include "math/weighted_sum.hpp"

namespace caffe::cuda {
namespace {

class SplitLayer : public CudaLayer {
 public:
  explicit SplitLayer(const Args& args) : CudaLayer("Split", args) {}

  void reshape(const Blobs& bottom, const Blobs& top) override {
    for (const BlobPtr& each : top) each->share_data(*bottom[0]);
  }

  void forward(const Context&, const Blobs&, const Blobs&) override {}

  void backward(const Context& context, const Blobs& top, const std::vector<bool>& propagate_down,
                const Blobs& bottom) override {
    if (!propagate_down[0]) return;
    dispatch(bottom[0]->dtype(), [&](auto zero) {
      using T = decltype(zero);
      std::vector<const T*> diffs;
      for (const BlobPtr& each : top)
        if (each->diff_storage().allocated()) diffs.push_back(each->diff<T>());
      T* dx = bottom[0]->diff<T>();
      if (diffs.empty())
        accelerator().clear(dx, bottom[0]->bytes());
      else
        weighted_sum(context, "split_backward", diffs, std::vector<float>(diffs.size(), 1.0f), dx,
                     bottom[0]->count());
    });
  }
};

REGISTER_LAYER("Split", cuda, SplitLayer);

}  // namespace
}  // namespace caffe::cuda
