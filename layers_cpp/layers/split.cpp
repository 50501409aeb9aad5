// Split: every top is the bottom. All share its data; each has a diff of its own.
//
// Gradient: dx = sum of the tops' diffs, in one pass. A diff that nobody has ever written (its reader needs
// no backward) holds no memory and counts as zero. Not for in-place use.
#include "core/registry.hpp"
#include "math/weighted_sum.hpp"

namespace caffe {
namespace {

class SplitLayer : public Layer {
 public:
  explicit SplitLayer(const Args& args) : tops_(static_cast<size_t>(args.integer("tops"))) {}

  std::vector<Shape> top_shapes(const std::vector<Shape>& bottoms) const override {
    return std::vector<Shape>(tops_, bottoms[0]);
  }

  void reshape(const Blobs& bottom, const Blobs& top) override {
    for (const BlobPtr& each : top) each->share_data(*bottom[0]);
  }

  void forward(const Context&, const Blobs&, const Blobs&) override {}

  void backward(const Context&, const Blobs& top, const std::vector<bool>& propagate_down,
                const Blobs& bottom) override {
    if (!propagate_down[0]) return;
    dispatch(bottom[0]->dtype(), [&](auto zero) {
      using T = decltype(zero);
      std::vector<const T*> diffs;
      for (const BlobPtr& each : top)
        if (each->diff_storage().allocated()) diffs.push_back(each->diff<T>());
      T* dx = bottom[0]->diff<T>();
      if (diffs.empty())
        std::fill_n(dx, bottom[0]->count(), T(0.0f));
      else
        weighted_sum(diffs, std::vector<float>(diffs.size(), 1.0f), dx, bottom[0]->count());
    });
  }

 private:
  const size_t tops_;
};

REGISTER_LAYER("Split", cpu, SplitLayer);

}  // namespace
}  // namespace caffe
