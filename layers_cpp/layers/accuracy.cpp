// Accuracy: the share of rows of scores, along one axis, whose label is among the top_k best classes.
//
// A row is right if fewer than top_k other classes score at least as high as its label: ties count against
// it, and so does a label whose score is NaN. Rows with the ignored label are left out; 0 if none is left. A
// second top (C) holds the share among the rows of each class.
//
// There is no gradient: asking for one is an error.
#include "core/error.hpp"
#include "core/registry.hpp"
#include "math/labels.hpp"
#include "math/softmax.hpp"

namespace caffe {
namespace {

template <class T>
bool is_right(const T* scores, int64_t classes, int64_t step, int64_t label, int64_t top_k) {
  const float score = scores[label * step];
  int64_t as_high = 0;  // the label itself included
#pragma omp simd reduction(+ : as_high)
  for (int64_t i = 0; i < classes; ++i) as_high += static_cast<float>(scores[i * step]) >= score ? 1 : 0;
  return as_high >= 1 && as_high <= top_k;
}

template <class T>
void judge_rows(const Rows& rows, const Labels& labels, int64_t top_k, const T* scores, uint8_t* right) {
  for_each_row(rows, [&](int64_t row, auto step) {
    right[row] =
        !labels.ignored(row) && is_right(scores + rows.offset(row), rows.length, step, labels[row], top_k);
  });
}

float share(int64_t right, int64_t all) {
  return all == 0 ? 0.0f : static_cast<float>(right) / static_cast<float>(all);
}

class AccuracyLayer : public Layer {
 public:
  explicit AccuracyLayer(const Args& args)
      : axis_(args.integer("axis")), top_k_(args.integer("top_k")), per_class_(args.flag("per_class")) {
    if (args.flag("ignores")) ignore_ = args.integer("ignore_label");
  }

  std::vector<Shape> top_shapes(const std::vector<Shape>& bottoms) const override {
    const Shape &scores = bottoms[0], &labels = bottoms[1];
    const size_t axis = canonical_axis(scores, axis_);
    const int64_t classes = scores[axis], rows = count(scores, 0, axis) * count(scores, axis + 1);
    if (count(labels) != rows)
      throw ShapeError(message("scores ", to_string(scores), " with classes along axis ", axis, " need ",
                               rows, " labels, got ", to_string(labels)));
    if (top_k_ > classes)
      throw ShapeError(message("top_k must be at most the number of classes, ", classes, ", got ", top_k_));
    std::vector<Shape> shapes = {Shape{}};
    if (per_class_) shapes.push_back({classes});
    return shapes;
  }

  void reshape(const Blobs& bottom, const Blobs&) override {
    rows_ = Rows(*bottom[0], canonical_axis(bottom[0]->shape(), axis_));
  }

  void forward(const Context& context, const Blobs& bottom, const Blobs& top) override {
    const Labels labels(bottom[1]->data(), rows_.count, rows_.length, ignore_);
    auto* right = static_cast<uint8_t*>(context.scratch->data());
    dispatch(bottom[0]->dtype(), [&](auto zero) {
      using T = decltype(zero);
      judge_rows(rows_, labels, top_k_, bottom[0]->data<T>(), right);
    });
    int64_t sum = 0;
    for (int64_t row = 0; row < rows_.count; ++row) sum += right[row];
    *top[0]->data() = share(sum, labels.valid());
    if (per_class_) write_per_class(labels, right, top[1]->data());
  }

  void backward(const Context&, const Blobs&, const std::vector<bool>& propagate_down,
                const Blobs&) override {
    if (propagate_down[0] || propagate_down[1])
      throw ConfigError("Accuracy has no gradient; include it in phase TEST only, or give it no loss_weight");
  }

  std::string explain(const Complaint& complaint) const override {
    return bad_label(complaint.value, complaint.place, complaint.limit);
  }

  size_t scratch_bytes() const override { return static_cast<size_t>(rows_.count); }

 private:
  void write_per_class(const Labels& labels, const uint8_t* right, float* shares) const {
    std::vector<int64_t> all(rows_.length), hits(rows_.length);
    for (int64_t row = 0; row < rows_.count; ++row) {
      if (labels.ignored(row)) continue;
      ++all[labels[row]];
      hits[labels[row]] += right[row];
    }
    for (int64_t i = 0; i < rows_.length; ++i) shares[i] = share(hits[i], all[i]);
  }

  const int64_t axis_, top_k_;
  const bool per_class_;
  std::optional<int64_t> ignore_;
  Rows rows_;
};

REGISTER_LAYER("Accuracy", cpu, AccuracyLayer);

}  // namespace
}  // namespace caffe
