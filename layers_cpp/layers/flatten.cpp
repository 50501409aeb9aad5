// Flatten: folds the axes from `axis` to `end_axis`, both included, into one. The top shares data and diff
// with the bottom, so nothing is computed. Not for in-place use.
#include "core/error.hpp"
#include "core/registry.hpp"

namespace caffe {
namespace {

class FlattenLayer : public Layer {
 public:
  explicit FlattenLayer(const Args& args)
      : axis_(args.integer("axis")), end_axis_(args.integer("end_axis")) {}

  std::vector<Shape> top_shapes(const std::vector<Shape>& bottoms) const override {
    const Shape& bottom = bottoms[0];
    const size_t first = canonical_axis(bottom, axis_), last = canonical_axis(bottom, end_axis_);
    if (first > last)
      throw ShapeError(
          message("axis ", axis_, " comes after end_axis ", end_axis_, " in shape ", to_string(bottom)));
    Shape top(bottom.begin(), bottom.begin() + static_cast<int64_t>(first));
    top.push_back(count(bottom, first, last + 1));
    top.insert(top.end(), bottom.begin() + static_cast<int64_t>(last) + 1, bottom.end());
    return {top};
  }

  void reshape(const Blobs& bottom, const Blobs& top) override {
    top[0]->share_data(*bottom[0]);
    top[0]->share_diff(*bottom[0]);
  }

  void forward(const Context&, const Blobs&, const Blobs&) override {}
  void backward(const Context&, const Blobs&, const std::vector<bool>&, const Blobs&) override {}

 private:
  const int64_t axis_, end_axis_;
};

REGISTER_LAYER("Flatten", cpu, FlattenLayer);

}  // namespace
}  // namespace caffe
