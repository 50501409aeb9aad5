// Reorder: the same values in another layout or element type. Inserted by the plan, never written in a
// prototxt.
//
// forward: y = x, backward: dx = dy. Where both sides lie in memory alike (a 1x1 map, one channel) the top
// shares the bottom's storages and nothing is copied. Not if that comes up later and the plan, which knows
// nothing of it, has given one of them a place in an arena.
#include "core/onednn.hpp"
#include "core/registry.hpp"

namespace caffe {
namespace {

class ReorderLayer : public Layer {
 public:
  explicit ReorderLayer(const Args&) {}

  std::vector<Shape> top_shapes(const std::vector<Shape>& bottoms) const override { return bottoms; }

  void reshape(const Blobs& bottom, const Blobs& top) override {
    empty_ = bottom[0]->count() == 0;
    shared_ = bottom[0]->dtype() == top[0]->dtype() && same_memory(*bottom[0], *top[0]) &&
              (shares(*bottom[0], *top[0]) || !(pooled(*bottom[0]) || pooled(*top[0])));
    if (shared_) {
      top[0]->share_data(*bottom[0]);
      top[0]->share_diff(*bottom[0]);
    } else {
      if (shares(*bottom[0], *top[0])) stop_sharing(*top[0]);
      if (empty_) return;
      const auto from = describe(*bottom[0]), to = describe(*top[0]);
      forward_.create(from, to);
      backward_.create(to, from);
    }
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
  static bool shares(const Blob& a, const Blob& b) { return a.shared_data() == b.shared_data(); }
  static bool pooled(const Blob& blob) { return blob.data_pooled() || blob.diff_pooled(); }

  static void stop_sharing(Blob& top) {
    Blob own(top.dtype());
    own.reshape(top.shape());
    top.share_data(own);
    top.share_diff(own);
  }

  // Strides of axes with one element do not matter.
  static bool same_memory(const Blob& a, const Blob& b) {
    const auto left = a.strides(), right = b.strides();
    for (size_t axis = 0; axis < left.size(); ++axis)
      if (a.dim(axis) > 1 && left[axis] != right[axis]) return false;
    return true;
  }

  Reordering forward_, backward_;
  bool shared_ = false, empty_ = false;
};

REGISTER_LAYER("Reorder", cpu, ReorderLayer);

}  // namespace
}  // namespace caffe
