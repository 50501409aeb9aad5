// Filter: of every bottom but the last, the items whose selector is not 0, in their order.
//
//   y_b = x_b[items n with selector[n] != 0]
//
// The selector is the last bottom, with one value for each item; NaN is not 0. How many are selected, perhaps
// none, is known when the layer runs; all of them are the most. In both layouts an item is consecutive
// memory. Gradient: dx_b[n] is the item of dy_b that was made of it, 0 where none was.
#include <cstring>

#include "core/error.hpp"
#include "core/parallel.hpp"
#include "core/registry.hpp"

namespace caffe {
namespace {

size_t item_bytes(const Blob& blob) {
  return static_cast<size_t>(count(blob.shape(), 1)) * size_of(blob.dtype());
}

// Calls body(i) for i < items of so many bytes each.
template <class Body>
void for_each_item(int64_t items, size_t bytes, Body&& body) {
  const int64_t grain = 4 * kElementwiseGrain / static_cast<int64_t>(bytes + 1) + 1;
  parallel_for(items, grain, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) body(static_cast<size_t>(i));
  });
}

class FilterLayer : public Layer {
 public:
  explicit FilterLayer(const Args&) {}

  bool shapes_at_run_time() const override { return true; }

  std::vector<Shape> top_shapes(const std::vector<Shape>& bottoms) const override {
    const Shape& selector = bottoms.back();
    if (selector.empty() || count(selector, 1) != 1)
      throw ShapeError(message("the selector must have one value for each item, got ", to_string(selector)));
    std::vector<Shape> tops(bottoms.begin(), bottoms.end() - 1);
    for (size_t i = 0; i < tops.size(); ++i)
      if (tops[i].empty() || tops[i][0] != selector[0])
        throw ShapeError(message("bottom ", i, " must have ", selector[0], " items like the selector, got ",
                                 to_string(tops[i])));
    return tops;
  }

  void forward(const Context&, const Blobs& bottom, const Blobs& top) override {
    select(*bottom.back());
    for (size_t b = 0; b < top.size(); ++b) {
      Shape shape = bottom[b]->shape();
      shape[0] = static_cast<int64_t>(selected_.size());
      top[b]->reshape(shape);
      if (top[b]->count() == 0) continue;
      const size_t bytes = item_bytes(*top[b]);
      const char* from = bottom[b]->data<char>();
      char* to = top[b]->data<char>();
      for_each_item(shape[0], bytes, [&](size_t i) {
        std::memcpy(to + i * bytes, from + static_cast<size_t>(selected_[i]) * bytes, bytes);
      });
    }
  }

  void backward(const Context&, const Blobs& top, const std::vector<bool>& propagate_down,
                const Blobs& bottom) override {
    if (propagate_down.back()) throw ConfigError("Filter has no gradient of its selector");
    select(*bottom.back());
    for (size_t b = 0; b < top.size(); ++b) {
      if (!propagate_down[b] || bottom[b]->count() == 0) continue;
      const size_t bytes = item_bytes(*bottom[b]);
      char* to = bottom[b]->diff<char>();
      std::memset(to, 0, bottom[b]->bytes());
      if (selected_.empty()) continue;
      const char* from = top[b]->diff<char>();
      for_each_item(static_cast<int64_t>(selected_.size()), bytes, [&](size_t i) {
        std::memcpy(to + static_cast<size_t>(selected_[i]) * bytes, from + i * bytes, bytes);
      });
    }
  }

 private:
  void select(Blob& selector) {
    const float* values = selector.data();
    selected_.clear();
    for (int64_t n = 0; n < selector.dim(0); ++n)
      if (values[n] != 0.0f) selected_.push_back(n);
  }

  std::vector<int64_t> selected_;
};

REGISTER_LAYER("Filter", cpu, FilterLayer);

}  // namespace
}  // namespace caffe
