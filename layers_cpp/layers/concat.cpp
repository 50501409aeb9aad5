// Concat: joins bottoms along one axis. In memory order every bottom is `outer` slabs of consecutive bytes;
// the top is the bottoms' first slabs, then their second slabs, and so on.
//
// Gradient: each wanted bottom gets its slabs of dy (overwritten). A single bottom shares data and diff with
// the top.
#include <cstring>

#include "core/error.hpp"
#include "core/parallel.hpp"
#include "core/registry.hpp"
#include "layers/slabs.hpp"

namespace caffe {
namespace {

class ConcatLayer : public Layer {
 public:
  explicit ConcatLayer(const Args& args) : axis_(args.integer("axis")) {}

  std::vector<Shape> top_shapes(const std::vector<Shape>& bottoms) const override {
    const size_t axis = canonical_axis(bottoms[0], axis_);
    Shape top = bottoms[0];
    for (size_t i = 1; i < bottoms.size(); ++i) {
      if (!equal_except(bottoms[0], bottoms[i], axis))
        throw ShapeError(message("bottoms may differ along axis ", axis, " only: bottom 0 has shape ",
                                 to_string(bottoms[0]), ", bottom ", i, " has ", to_string(bottoms[i])));
      top[axis] += bottoms[i][axis];
    }
    return {top};
  }

  void reshape(const Blobs& bottom, const Blobs& top) override {
    const size_t axis = canonical_axis(top[0]->shape(), axis_);
    slabs_ = slabs_before(*top[0], axis);
    slab_bytes_.clear();
    for (const BlobPtr& each : bottom)
      slab_bytes_.push_back(slabs_ > 0 ? each->bytes() / static_cast<size_t>(slabs_) : 0);
    if (bottom.size() == 1) {
      top[0]->share_data(*bottom[0]);
      top[0]->share_diff(*bottom[0]);
    }
  }

  void forward(const Context&, const Blobs& bottom, const Blobs& top) override {
    if (bottom.size() == 1 || top[0]->count() == 0) return;
    std::vector<const char*> from;
    for (const BlobPtr& each : bottom) from.push_back(each->data<char>());
    char* to = top[0]->data<char>();
    const size_t top_slab = top[0]->bytes() / static_cast<size_t>(slabs_);
    for_each_slab(top_slab, [&](size_t slab) {
      char* out = to + slab * top_slab;
      for (size_t i = 0; i < from.size(); ++i) {
        std::memcpy(out, from[i] + slab * slab_bytes_[i], slab_bytes_[i]);
        out += slab_bytes_[i];
      }
    });
  }

  void backward(const Context&, const Blobs& top, const std::vector<bool>& propagate_down,
                const Blobs& bottom) override {
    if (bottom.size() == 1 || top[0]->count() == 0) return;
    std::vector<char*> to;  // null where no gradient is wanted
    for (size_t i = 0; i < bottom.size(); ++i)
      to.push_back(propagate_down[i] ? bottom[i]->diff<char>() : nullptr);
    const char* from = top[0]->diff<char>();
    const size_t top_slab = top[0]->bytes() / static_cast<size_t>(slabs_);
    for_each_slab(top_slab, [&](size_t slab) {
      const char* in = from + slab * top_slab;
      for (size_t i = 0; i < to.size(); ++i) {
        if (to[i]) std::memcpy(to[i] + slab * slab_bytes_[i], in, slab_bytes_[i]);
        in += slab_bytes_[i];
      }
    });
  }

 private:
  static bool equal_except(const Shape& a, const Shape& b, size_t axis) {
    if (a.size() != b.size()) return false;
    for (size_t i = 0; i < a.size(); ++i)
      if (i != axis && a[i] != b[i]) return false;
    return true;
  }

  template <class Body>
  void for_each_slab(size_t bytes, Body&& body) const {
    const int64_t grain = 4 * kElementwiseGrain / static_cast<int64_t>(bytes) + 1;
    parallel_for(slabs_, grain, [&](int64_t begin, int64_t end, int) {
      for (int64_t slab = begin; slab < end; ++slab) body(static_cast<size_t>(slab));
    });
  }

  const int64_t axis_;
  int64_t slabs_ = 0;
  std::vector<size_t> slab_bytes_;  // one for each bottom
};

REGISTER_LAYER("Concat", cpu, ConcatLayer);

}  // namespace
}  // namespace caffe
