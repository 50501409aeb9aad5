// SoftmaxWithLoss: scores x along one axis, one label L for every row of scores.
//
//   loss = 1/Z * sum over rows whose label is not ignored of min(-log p[L], -log FLT_MIN),  p = softmax(x)
//
// Z follows the normalization and is at least 1. With class weights w, a row counts w[L] times (Z stays). A
// second top, if there is one, receives p.
//
// Gradient: dx = w[L] * dloss / Z * (p - onehot(L)); 0 in rows that are ignored; the gradient of p is not
// used. p is not kept for it: two numbers a row, the maximum and the sum, give it again.
#include <cmath>
#include <limits>

#include "core/error.hpp"
#include "core/registry.hpp"
#include "math/labels.hpp"
#include "math/softmax.hpp"

namespace caffe {
namespace {

// -log of the softmax of one row at its label. Written with the logarithm of the sum, so that small
// probabilities keep their digits; Caffe's floor of the probability, FLT_MIN, is kept.
float row_loss(const SoftmaxRow& softmax, float score) {
  static const float kMost = -std::log(std::numeric_limits<float>::min());
  return std::min(std::log(softmax.sum) - (score - softmax.maximum), kMost);
}

// The label of every row, and what it counts for.
struct Targets {
  const Labels labels;
  const std::vector<float>& class_weights;  // none: 1 for every class

  bool ignored(int64_t row) const { return labels.ignored(row); }
  float weight(int64_t row) const { return class_weights.empty() ? 1.0f : class_weights[labels[row]]; }
};

template <class T>
void measure_rows(const Rows& rows, const Targets& targets, const T* x, SoftmaxRow* measured, float* losses) {
  for_each_row(rows, [&](int64_t row, auto step) {
    const T* scores = x + rows.offset(row);
    measured[row] = measure_row(scores, rows.length, step);
    losses[row] = 0;
    if (!targets.ignored(row))
      losses[row] = targets.weight(row) * row_loss(measured[row], scores[targets.labels[row] * step]);
  });
}

template <class T>
void write_probabilities(const Rows& rows, const SoftmaxRow* measured, const T* x, float* probabilities) {
  for_each_row(rows, [&](int64_t row, auto step) {
    const T* scores = x + rows.offset(row);
    float* to = probabilities + rows.offset(row);
    const SoftmaxRow softmax = measured[row];
#pragma omp simd
    for (int64_t i = 0; i < rows.length; ++i) to[i * step] = softmax.probability(scores[i * step]);
  });
}

// dx = scale * weight * (p - onehot(label))
template <class T>
void loss_backward(const Rows& rows, const Targets& targets, const SoftmaxRow* measured, float scale,
                   const T* x, T* dx) {
  for_each_row(rows, [&](int64_t row, auto step) {
    const T* scores = x + rows.offset(row);
    T* to = dx + rows.offset(row);
    if (targets.ignored(row)) {
      for (int64_t i = 0; i < rows.length; ++i) to[i * step] = 0.0f;
      return;
    }
    const SoftmaxRow softmax = measured[row];
    const float factor = scale * targets.weight(row);
#pragma omp simd
    for (int64_t i = 0; i < rows.length; ++i) to[i * step] = factor * softmax.probability(scores[i * step]);
    const int64_t at_label = targets.labels[row] * step;
    to[at_label] = factor * (softmax.probability(scores[at_label]) - 1.0f);
  });
}

class SoftmaxWithLossLayer : public Layer {
 public:
  explicit SoftmaxWithLossLayer(const Args& args)
      : axis_(args.integer("axis")),
        normalization_(args.text("normalization")),
        probabilities_(args.flag("probabilities")),
        weighs_classes_(args.flag("weighs_classes")),
        class_weights_(args.reals("class_weights")) {
    if (args.flag("ignores")) ignore_ = args.integer("ignore_label");
  }

  std::vector<Shape> top_shapes(const std::vector<Shape>& bottoms) const override {
    const Shape &scores = bottoms[0], &labels = bottoms[1];
    const size_t axis = canonical_axis(scores, axis_);
    const int64_t rows = count(scores, 0, axis) * count(scores, axis + 1);
    if (count(labels) != rows || labels.empty() || labels[0] != scores[0])
      throw ShapeError(message("scores ", to_string(scores), " with classes along axis ", axis, " need ",
                               rows, " labels, the first axis of both alike; got labels ",
                               to_string(labels)));
    if (weighs_classes_ && static_cast<int64_t>(class_weights_.size()) != scores[axis])
      throw ShapeError(message("class_weighting needs one weight for each of ", scores[axis],
                               " classes, got ", class_weights_.size()));
    std::vector<Shape> shapes = {Shape{}};
    if (probabilities_) shapes.push_back(scores);
    return shapes;
  }

  void reshape(const Blobs& bottom, const Blobs&) override {
    const size_t axis = canonical_axis(bottom[0]->shape(), axis_);
    rows_ = Rows(*bottom[0], axis);
    outer_ = count(bottom[0]->shape(), 0, axis);
    measured_.reserve(private_bytes(true));
  }

  void forward(const Context& context, const Blobs& bottom, const Blobs& top) override {
    const Targets targets = read_targets(bottom);
    auto* measured = static_cast<SoftmaxRow*>(measured_.data());
    auto* losses = static_cast<float*>(context.scratch->data());
    dispatch(bottom[0]->dtype(), [&](auto zero) {
      using T = decltype(zero);
      const T* scores = bottom[0]->data<T>();
      measure_rows(rows_, targets, scores, measured, losses);
      if (probabilities_) write_probabilities(rows_, measured, scores, top[1]->data());
    });
    double sum = 0;  // in the order of the rows: the same bits with any number of threads
    for (int64_t row = 0; row < rows_.count; ++row) sum += losses[row];
    *top[0]->data() = static_cast<float>(sum / normalizer(targets.labels));
  }

  void backward(const Context&, const Blobs& top, const std::vector<bool>& propagate_down,
                const Blobs& bottom) override {
    if (propagate_down[1])
      throw ConfigError("labels have no gradient; leave out propagate_down for bottom 1");
    if (!propagate_down[0]) return;
    const Targets targets = read_targets(bottom);
    const auto scale = static_cast<float>(*top[0]->diff() / normalizer(targets.labels));
    dispatch(bottom[0]->dtype(), [&](auto zero) {
      using T = decltype(zero);
      loss_backward(rows_, targets, static_cast<const SoftmaxRow*>(measured_.data()), scale,
                    bottom[0]->data<T>(), bottom[0]->diff<T>());
    });
  }

  size_t private_bytes(bool) const override { return static_cast<size_t>(rows_.count) * sizeof(SoftmaxRow); }
  std::string explain(const Complaint& complaint) const override {
    return bad_label(complaint.value, complaint.place, complaint.limit);
  }

  size_t scratch_bytes() const override { return static_cast<size_t>(rows_.count) * sizeof(float); }

 private:
  Targets read_targets(const Blobs& bottom) const {
    return {Labels(bottom[1]->data(), rows_.count, rows_.length, ignore_), class_weights_};
  }

  double normalizer(const Labels& labels) const {
    int64_t z = 1;
    if (normalization_ == "full") z = rows_.count;
    if (normalization_ == "valid") z = labels.valid();
    if (normalization_ == "batch_size") z = outer_;
    return static_cast<double>(std::max<int64_t>(1, z));
  }

  const int64_t axis_;
  const std::string normalization_;  // full, valid, batch_size or none
  const bool probabilities_, weighs_classes_;
  const std::vector<float> class_weights_;
  std::optional<int64_t> ignore_;
  Rows rows_;
  int64_t outer_ = 1;
  Storage measured_;
};

REGISTER_LAYER("SoftmaxWithLoss", cpu, SoftmaxWithLossLayer);

}  // namespace
}  // namespace caffe
