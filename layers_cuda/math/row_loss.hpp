// A loss of rows of scores on the GPU; what it computes: layers_cpp/math/row_loss.hpp.
//
// Forward reads the scores twice a row for the softmax, once more if the formula wants all of them or if the
// probabilities are wanted; the losses of the rows and the number of valid labels are added up in a second
// step. Backward reads the scores and writes their gradient; divisor and loss weight never leave the device.
#pragma once

#include <algorithm>

#include "core/cuda_layer.hpp"
#include "core/scratch.hpp"
#include "math/class_labels.hpp"
#include "math/loss_sum.hpp"
#include "math/row_softmax.hpp"

namespace caffe::cuda {

// A row as formulas see it: seen by all threads of its team.
template <class T>
class ScoreRow {
 public:
  __device__ ScoreRow(const T* x, int classes, int64_t step, const RowSoftmax& softmax)
      : classes(classes), x_(x), step_(step), softmax_(softmax), log_sum_(logf(softmax.sum)) {}

  __device__ float score(int c) const { return x_[c * step_]; }
  __device__ float probability(float x) const { return softmax_.probability(x); }
  __device__ float log_loss(float x) const { return log_sum_ - (x - softmax_.maximum); }

  template <class Term>
  __device__ float sum(Term&& term) const {
    float sum = 0;
    for_own_values(x_, classes, step_, [&](int64_t c, float x) {
      if (c < classes) sum += term(static_cast<int>(c), x);
    });
    return team_sum(sum);
  }

  const int classes;

 private:
  const T* x_;
  const int64_t step_;
  const RowSoftmax softmax_;
  const float log_sum_;
};

template <class Formula, class T>
__global__ void row_loss_forward_kernel(RowPlaces rows, ClassLabels labels, Formula formula, const T* x,
                                        RowSoftmax* measured, float* losses, float* valid,
                                        float* probabilities, Complaint* complaint, int step) {
  // x, probabilities (or null): rows.count rows of rows.length; measured (of a softmax), losses, valid:
  // (rows)
  const int row = team_row();
  if (row >= rows.count) return;
  const int64_t offset = rows.offset(row);
  const int label = labels[row];
  RowSoftmax softmax{0, 1};
  if constexpr (Formula::kSoftmax) softmax = measure_row(x + offset, rows.length, rows.step);
  const ScoreRow<T> scores(x + offset, rows.length, rows.step, softmax);
  const float loss = label < 0 ? 0.0f : formula.loss(scores, label);
  if (threadIdx.x == 0) {
    labels.check(row, complaint, step);
    if constexpr (Formula::kSoftmax) measured[row] = softmax;
    valid[row] = label < 0 ? 0.0f : 1.0f;
    losses[row] = loss;
  }
  if (!probabilities) return;
  for_own_values(x + offset, rows.length, rows.step, [&](int64_t i, float value) {
    if (i < rows.length) probabilities[offset + i * rows.step] = softmax.probability(value);
  });
}

// dx = loss weight / Z * gradient; 0 in rows that are ignored, where NaN counts for nothing.
template <class Formula, class T>
__global__ void row_loss_backward_kernel(RowPlaces rows, ClassLabels labels, Formula formula,
                                         const RowSoftmax* measured, const float* loss_weight,
                                         const float* divisor, const T* x, T* dx) {
  // x, dx: rows.count rows of rows.length; measured (of a softmax): (rows); loss_weight, divisor: (1)
  const int row = team_row();
  if (row >= rows.count) return;
  const int64_t offset = rows.offset(row);
  const int label = labels[row];
  if (label < 0) {
    for (int i = threadIdx.x; i < rows.length; i += blockDim.x) dx[offset + i * rows.step] = 0.0f;
    return;
  }
  RowSoftmax softmax{0, 1};
  if constexpr (Formula::kSoftmax) softmax = measured[row];
  const ScoreRow<T> scores(x + offset, rows.length, rows.step, softmax);
  const auto gradient = formula.gradient(scores, label, *loss_weight / *divisor);
  for_own_values(x + offset, rows.length, rows.step, [&](int64_t i, float value) {
    if (i < rows.length) dx[offset + i * rows.step] = gradient(static_cast<int>(i), value);
  });
}

template <class Formula>
class RowLossLayer : public CudaLayer {
 public:
  RowLossLayer(const char* type, const Args& args)
      : CudaLayer(type, args),
        forward_name_(std::string(type) + " forward"),
        backward_name_(std::string(type) + " backward"),
        loss_(storages, args),
        formula_(args),
        constants_(Formula::constants(args)) {
    if constexpr (Formula::kSoftmax) {
      axis_ = args.integer("axis");
      probabilities_ = args.flag("probabilities");
    }
  }

  void reshape(const Blobs& bottom, const Blobs&) override {
    const size_t axis = canonical_axis(bottom[0]->shape(), axis_);
    rows_ = Formula::kSoftmax ? Rows(*bottom[0], axis) : Rows(bottom[0]->shape());
    loss_.reshape(rows_.count, count(bottom[0]->shape(), 0, axis));
    if (Formula::kSoftmax) measured_.reserve(static_cast<size_t>(rows_.count) * sizeof(RowSoftmax));
    send_constants();
  }

  void forward(const Context& context, const Blobs& bottom, const Blobs& top) override {
    Scratch scratch(context, 0);
    float *losses = scratch.take<float>(row_bytes()), *valid = scratch.take<float>(row_bytes());
    dispatch(bottom[0]->dtype(), [&](auto zero) {
      using T = decltype(zero);
      launch(context, forward_name_.c_str(), row_teams(rows_), row_loss_forward_kernel<Formula, T>,
             RowPlaces(rows_), labels(bottom), formula(bottom), bottom[0]->data<T>(), measured(), losses,
             valid, probabilities_ ? top[1]->data() : nullptr, context.complaint, context.step);
    });
    loss_.add_up(context, forward_name_.c_str(), losses, valid, top[0]->data(),
                 scratch.take<float>(loss_.add_up_bytes()));
  }

  void backward(const Context& context, const Blobs& top, const std::vector<bool>& propagate_down,
                const Blobs& bottom) override {
    refuse_gradients(propagate_down, 1);
    if (!propagate_down[0]) return;
    dispatch(bottom[0]->dtype(), [&](auto zero) {
      using T = decltype(zero);
      launch(context, backward_name_.c_str(), row_teams(rows_), row_loss_backward_kernel<Formula, T>,
             RowPlaces(rows_), labels(bottom), formula(bottom), measured(), top[0]->diff(), loss_.divisor(),
             bottom[0]->data<T>(), bottom[0]->diff<T>());
    });
  }

  size_t scratch_bytes() const override {
    return 2 * scratch_size(row_bytes()) + scratch_size(loss_.add_up_bytes());
  }

 private:
  RowSoftmax* measured() { return static_cast<RowSoftmax*>(measured_.data()); }
  size_t row_bytes() const { return static_cast<size_t>(rows_.count) * sizeof(float); }

  ClassLabels labels(const Blobs& bottom) const {
    return {bottom[1]->data(), rows_.length, loss_.normalizer().ignored_label()};
  }

  Formula formula(const Blobs& bottom) {
    Formula formula = formula_;
    if (!constants_.empty()) formula.values = static_cast<const float*>(device_constants_.data());
    if (bottom.size() > 2) formula.values = bottom[2]->data();
    return formula;
  }

  void send_constants() {
    const size_t bytes = constants_.size() * sizeof(float);
    if (bytes == device_constants_.bytes()) return;  // they are there
    device_constants_.reserve(bytes);
    std::copy(constants_.begin(), constants_.end(), static_cast<float*>(device_constants_.host_data()));
    device_constants_.host_wrote();
    device_constants_.publish();
  }

  const std::string forward_name_, backward_name_;
  int64_t axis_ = 1;
  bool probabilities_ = false;
  LossSum loss_;
  const Formula formula_;
  const std::vector<float> constants_;
  Rows rows_;
  Owned measured_{storages, Device::cuda}, device_constants_{storages, Device::cuda};
};

#define REGISTER_ROW_LOSS(type, device, Formula)             \
  static const ::caffe::Registration registration_##Formula( \
      type, ::caffe::Device::device,                         \
      [](const ::caffe::Args& args) { return std::make_shared<RowLossLayer<Formula>>(type, args); })

}  // namespace caffe::cuda
