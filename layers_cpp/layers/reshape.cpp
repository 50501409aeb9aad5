// Reshape: gives a span of the bottom's axes other dims. The top shares data and diff with the bottom, so
// nothing is computed. Not for in-place use.
//
// Within the new dims 0 copies the bottom's dim at that place and -1 stands for what is left, at most once:
// the product of the replaced dims that are not copied over that of the new ones. With an empty batch that is
// what it is with any other, where 0 values over 0 would be anything.
#include <algorithm>
#include <iterator>

#include "core/error.hpp"
#include "core/registry.hpp"

namespace caffe {
namespace {

class ReshapeLayer : public Layer {
 public:
  explicit ReshapeLayer(const Args& args)
      : dims_(args.integers("dims")), axis_(args.integer("axis")), num_axes_(args.integer("num_axes")) {}

  std::vector<Shape> top_shapes(const std::vector<Shape>& bottoms) const override {
    const Shape& bottom = bottoms[0];
    const auto [start, end] = span(bottom);
    Shape top(bottom.begin(), bottom.begin() + start);
    for (size_t i = 0; i < dims_.size(); ++i)
      top.push_back(dims_[i] == 0 ? copied_dim(bottom, start + static_cast<int64_t>(i)) : dims_[i]);
    top.insert(top.end(), bottom.begin() + end, bottom.end());
    const auto unknown = std::find(top.begin(), top.end(), -1);
    if (unknown != top.end()) *unknown = inferred_dim(bottom, start, end);
    if (count(top) != count(bottom))
      throw ShapeError(message("shape ", to_string(bottom), " of ", count(bottom), " values cannot become ",
                               to_string(top), " of ", count(top)));
    return {top};
  }

  void reshape(const Blobs& bottom, const Blobs& top) override {
    top[0]->share_data(*bottom[0]);
    top[0]->share_diff(*bottom[0]);
  }

  void forward(const Context&, const Blobs&, const Blobs&) override {}
  void backward(const Context&, const Blobs&, const std::vector<bool>&, const Blobs&) override {}

 private:
  // The axes [start, end) that are replaced. A negative axis counts from behind the last one.
  std::pair<int64_t, int64_t> span(const Shape& bottom) const {
    const int64_t axes = static_cast<int64_t>(bottom.size());
    const int64_t start = axis_ >= 0 ? axis_ : axes + axis_ + 1;
    const int64_t end = num_axes_ == -1 ? axes : start + num_axes_;
    if (start < 0 || start > axes)
      throw ShapeError(message("axis ", axis_, " is out of range for shape ", to_string(bottom)));
    if (end > axes)
      throw ShapeError(message("axis ", axis_, " and num_axes ", num_axes_,
                               " reach past the last axis of shape ", to_string(bottom)));
    return {start, end};
  }

  static int64_t copied_dim(const Shape& bottom, int64_t axis) {
    if (axis >= static_cast<int64_t>(bottom.size()))
      throw ShapeError(
          message("dim: 0 copies axis ", axis, ", which shape ", to_string(bottom), " does not have"));
    return bottom[static_cast<size_t>(axis)];
  }

  int64_t inferred_dim(const Shape& bottom, int64_t start, int64_t end) const {
    Shape replaced, given;
    for (int64_t axis = start; axis < end; ++axis)
      if (!copies(axis - start)) replaced.push_back(bottom[static_cast<size_t>(axis)]);
    for (int64_t i = 0; i < std::ssize(dims_); ++i) {
      const int64_t dim = dims_[static_cast<size_t>(i)];
      if (dim > 0) given.push_back(dim);
      if (dim == 0 && start + i >= end) given.push_back(copied_dim(bottom, start + i));
    }
    const int64_t known = count(given), total = count(replaced);
    if (known == 0 || total % known != 0)
      throw ShapeError(message("dim: -1 cannot be found: ", total, " values of shape ", to_string(replaced),
                               " do not divide by ", known));
    return total / known;
  }

  bool copies(int64_t place) const {
    return place < std::ssize(dims_) && dims_[static_cast<size_t>(place)] == 0;
  }

  const Shape dims_;
  const int64_t axis_, num_axes_;
};

REGISTER_LAYER("Reshape", cpu, ReshapeLayer);

}  // namespace
}  // namespace caffe
