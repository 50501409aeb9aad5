// Split on the GPU; as layers_cpp/layers/split.cpp. The diffs of the tops are added in one pass, 16 bytes a
// thread and diff. Tops that are named in `shared_diffs` have the diff of the bottom: their readers add up
// there, and backward adds what is left.
#include "core/accelerator.hpp"
#include "core/cuda_layer.hpp"
#include "math/weighted_sum.hpp"

namespace caffe::cuda {
namespace {

class SplitLayer : public CudaLayer {
 public:
  explicit SplitLayer(const Args& args)
      : CudaLayer("Split", args), shared_diffs_(args.integers("shared_diffs")) {}

  void reshape(const Blobs& bottom, const Blobs& top) override {
    for (const BlobPtr& each : top) each->share_data(*bottom[0]);
    for (const int64_t index : shared_diffs_) top[static_cast<size_t>(index)]->share_diff(*bottom[0]);
  }

  void forward(const Context&, const Blobs&, const Blobs&) override {}

  void backward(const Context& context, const Blobs& top, const std::vector<bool>& propagate_down,
                const Blobs& bottom) override {
    if (!propagate_down[0]) return;
    dispatch(bottom[0]->dtype(), [&](auto zero) {
      using T = decltype(zero);
      T* dx = bottom[0]->diff<T>();
      const bool begun = !shared_diffs_.empty();
      std::vector<const T*> diffs(begun ? 1 : 0, dx);
      for (const BlobPtr& each : top)
        if (each->diff_storage().allocated() && each->shared_diff() != bottom[0]->shared_diff())
          diffs.push_back(each->diff<T>());
      if (diffs.empty())
        accelerator().clear(dx, bottom[0]->bytes());
      else if (!begun || diffs.size() > 1)
        weighted_sum(context, "split_backward", diffs, std::vector<float>(diffs.size(), 1.0f), dx,
                     bottom[0]->count());
    });
  }

 private:
  const std::vector<int64_t> shared_diffs_;
};

REGISTER_LAYER("Split", cuda, SplitLayer);

}  // namespace
}  // namespace caffe::cuda
