// Reorder: the same values in another layout or element type. Inserted by the plan, never written in a
// prototxt.
//
// forward: y = x, backward: dx = dy. Where both sides lie in memory alike (a 1x1 map, one channel) the top
// shares the bottom's storages and nothing is copied.
#include "core/onednn.hpp"
#include "core/registry.hpp"
#include "layers/sharing.hpp"

namespace caffe {
namespace {

class ReorderLayer : public Layer {
 public:
  explicit ReorderLayer(const Args&) {}

  std::vector<Shape> top_shapes(const std::vector<Shape>& bottoms) const override { return bottoms; }

  void reshape(const Blobs& bottom, const Blobs& top) override {
    empty_ = bottom[0]->count() == 0;
    shared_ = share_if_alike(*bottom[0], *top[0]);
    if (shared_ || empty_) return;
    const auto from = describe(*bottom[0]), to = describe(*top[0]);
    forward_.create(from, to);
    backward_.create(to, from);
  }

  void forward(const Context& context, const Blobs& bottom, const Blobs& top) override {
    if (!shared_ && !empty_) forward_.execute(context, bottom[0]->data<void>(), top[0]->data<void>());
  }

  void backward(const Context& context, const Blobs& top, const std::vector<bool>& propagate_down,
                const Blobs& bottom) override {
    if (propagate_down[0] && !shared_ && !empty_)
      backward_.execute(context, top[0]->diff<void>(), bottom[0]->diff<void>());
  }

  size_t scratch_bytes() const override {
    return std::max(forward_.scratch_bytes(), backward_.scratch_bytes());
  }

 private:
  Reordering forward_, backward_;
  bool shared_ = false, empty_ = false;
};

REGISTER_LAYER("Reorder", cpu, ReorderLayer);

}  // namespace
}  // namespace caffe
