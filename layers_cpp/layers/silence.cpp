// Silence: reads bottoms so that nobody else has to. Forward does nothing; backward sets wanted diffs to
// zero.
#include <algorithm>

#include "core/registry.hpp"

namespace caffe {
namespace {

class SilenceLayer : public Layer {
 public:
  explicit SilenceLayer(const Args&) {}

  std::vector<Shape> top_shapes(const std::vector<Shape>&) const override { return {}; }

  void forward(const Context&, const Blobs&, const Blobs&) override {}

  void backward(const Context&, const Blobs&, const std::vector<bool>& propagate_down,
                const Blobs& bottom) override {
    for (size_t i = 0; i < bottom.size(); ++i)
      if (propagate_down[i]) std::fill_n(bottom[i]->diff<char>(), bottom[i]->bytes(), char{0});
  }
};

REGISTER_LAYER("Silence", cpu, SilenceLayer);

}  // namespace
}  // namespace caffe
