// A layer of a formula (formulas/row_formula.hpp): the loss of rows of scores x, one label for each row.
//
//   loss = 1/Z * sum of formula.loss over all rows whose label is not ignored     (Z:
//   math/loss_normalizer.hpp) dx = dloss/Z * formula.gradient; 0 in rows that are ignored
//
// A formula of the softmax has its classes along an axis, and a second top, if there is one, receives the
// probabilities, whose gradient is not used. They are not kept for backward: two numbers a row, maximum and
// sum, give them again. Other formulas take all that is behind the first axis for classes, and plain scores.
//
// Each row is computed by one thread and their losses are added up in order: the same bits with any number of
// threads.
#pragma once

#include <cmath>

#include "core/error.hpp"
#include "core/registry.hpp"
#include "math/labels.hpp"
#include "math/loss_normalizer.hpp"
#include "math/softmax.hpp"

namespace caffe {

// A row as formulas see it; its scores are `step` apart.
template <class T, class Step>
class ScoreRow {
 public:
  ScoreRow(const T* x, int64_t classes, Step step, const SoftmaxRow& softmax)
      : classes(static_cast<int>(classes)),
        x_(x),
        step_(step),
        softmax_(softmax),
        log_sum_(std::log(softmax.sum)) {}

  float score(int c) const { return x_[c * step_]; }
  float probability(float x) const { return softmax_.probability(x); }
  float log_loss(float x) const { return log_sum_ - (x - softmax_.maximum); }

  template <class Term>
  float sum(Term&& term) const {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int c = 0; c < classes; ++c) sum += term(c, score(c));
    return sum;
  }

  const int classes;

 private:
  const T* x_;
  const Step step_;
  const SoftmaxRow softmax_;
  const float log_sum_;
};

template <class Formula>
class RowLossLayer : public Layer {
 public:
  explicit RowLossLayer(const Args& args)
      : normalizer_(args), formula_(args), constants_(Formula::constants(args)) {
    if constexpr (Formula::kSoftmax) {
      axis_ = args.integer("axis");
      probabilities_ = args.flag("probabilities");
    }
  }

  std::vector<Shape> top_shapes(const std::vector<Shape>& bottoms) const override {
    const Shape &scores = bottoms[0], &labels = bottoms[1];
    const size_t axis = canonical_axis(scores, axis_);
    const int64_t classes = Formula::kSoftmax ? scores[axis] : count(scores, axis);
    const int64_t rows = count(scores, 0, axis) * (Formula::kSoftmax ? count(scores, axis + 1) : 1);
    if (count(labels) != rows || labels.empty() || labels[0] != scores[0])
      throw ShapeError(message("scores ", to_string(scores), " with classes along axis ", axis, " need ",
                               rows, " labels, the first axis of both alike; got labels ",
                               to_string(labels)));
    formula_.check(classes, constants_.size(), bottoms);
    std::vector<Shape> shapes = {Shape{}};
    if (probabilities_) shapes.push_back(scores);
    return shapes;
  }

  void reshape(const Blobs& bottom, const Blobs&) override {
    const size_t axis = canonical_axis(bottom[0]->shape(), axis_);
    rows_ = Formula::kSoftmax ? Rows(*bottom[0], axis) : Rows(bottom[0]->shape());
    normalizer_.reshape(rows_.count, count(bottom[0]->shape(), 0, axis));
    if (Formula::kSoftmax) measured_.reserve(static_cast<size_t>(rows_.count) * sizeof(SoftmaxRow));
  }

  void forward(const Context& context, const Blobs& bottom, const Blobs& top) override {
    const Labels labels = read_labels(bottom);
    auto* losses = static_cast<float*>(context.scratch->data());
    dispatch(bottom[0]->dtype(), [&](auto zero) {
      using T = decltype(zero);
      const T* x = bottom[0]->data<T>();
      write_losses(labels, formula(bottom), x, losses);
      if (probabilities_) write_probabilities(x, top[1]->data());
    });
    double sum = 0;
    for (int64_t row = 0; row < rows_.count; ++row) sum += losses[row];
    divisor_ = normalizer_.divisor(labels.valid());
    *top[0]->data() = static_cast<float>(sum / divisor_);
  }

  void backward(const Context&, const Blobs& top, const std::vector<bool>& propagate_down,
                const Blobs& bottom) override {
    refuse_gradients(propagate_down, 1);
    if (!propagate_down[0]) return;
    const Labels labels = read_labels(bottom);
    const auto scale = static_cast<float>(*top[0]->diff() / divisor_);
    dispatch(bottom[0]->dtype(), [&](auto zero) {
      using T = decltype(zero);
      write_gradient(labels, formula(bottom), scale, bottom[0]->data<T>(), bottom[0]->diff<T>());
    });
  }

  std::string explain(const Complaint& complaint) const override {
    return bad_label(complaint.value, complaint.place, complaint.limit);
  }

  size_t scratch_bytes() const override { return static_cast<size_t>(rows_.count) * sizeof(float); }

 private:
  Labels read_labels(const Blobs& bottom) const {
    return {bottom[1]->data(), rows_.count, rows_.length, normalizer_.ignored_label()};
  }

  Formula formula(const Blobs& bottom) const {
    Formula formula = formula_;
    if (!constants_.empty()) formula.values = constants_.data();
    if (bottom.size() > 2) formula.values = bottom[2]->data();
    return formula;
  }

  SoftmaxRow* measured() { return static_cast<SoftmaxRow*>(measured_.data()); }

  template <class T>
  void write_losses(const Labels& labels, const Formula& formula, const T* x, float* losses) {
    SoftmaxRow* kept = Formula::kSoftmax ? measured() : nullptr;
    for_each_row(rows_, [&](int64_t row, auto step) {
      const T* scores = x + rows_.offset(row);
      SoftmaxRow softmax{0, 1};
      if constexpr (Formula::kSoftmax) kept[row] = softmax = measure_row(scores, rows_.length, step);
      losses[row] = 0;
      if (!labels.ignored(row))
        losses[row] = formula.loss(ScoreRow(scores, rows_.length, step, softmax), class_of(labels, row));
    });
  }

  template <class T>
  void write_probabilities(const T* x, float* probabilities) {
    const SoftmaxRow* kept = measured();
    for_each_row(rows_, [&](int64_t row, auto step) {
      const T* scores = x + rows_.offset(row);
      float* to = probabilities + rows_.offset(row);
      const SoftmaxRow softmax = kept[row];
#pragma omp simd
      for (int64_t i = 0; i < rows_.length; ++i) to[i * step] = softmax.probability(scores[i * step]);
    });
  }

  template <class T>
  void write_gradient(const Labels& labels, const Formula& formula, float scale, const T* x, T* dx) {
    const SoftmaxRow* kept = Formula::kSoftmax ? measured() : nullptr;
    for_each_row(rows_, [&](int64_t row, auto step) {
      const T* scores = x + rows_.offset(row);
      T* to = dx + rows_.offset(row);
      const int classes = static_cast<int>(rows_.length);
      if (labels.ignored(row)) {
        for (int c = 0; c < classes; ++c) to[c * step] = 0.0f;
        return;
      }
      const ScoreRow seen(scores, classes, step, Formula::kSoftmax ? kept[row] : SoftmaxRow{0, 1});
      const auto gradient = formula.gradient(seen, class_of(labels, row), scale);
#pragma omp simd
      for (int c = 0; c < classes; ++c) to[c * step] = gradient(c, scores[c * step]);
    });
  }

  static int class_of(const Labels& labels, int64_t row) { return static_cast<int>(labels[row]); }

  int64_t axis_ = 1;
  bool probabilities_ = false;
  LossNormalizer normalizer_;
  const Formula formula_;
  const std::vector<float> constants_;
  Rows rows_;
  double divisor_ = 1;  // of the last forward
  Owned measured_{storages};
};

#define REGISTER_ROW_LOSS(type, device, Formula)             \
  static const ::caffe::Registration registration_##Formula( \
      type, ::caffe::Device::device,                         \
      [](const ::caffe::Args& args) { return std::make_shared<RowLossLayer<Formula>>(args); })

}  // namespace caffe
