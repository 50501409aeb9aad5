// SoftmaxWithLoss on the GPU; formulas as in layers_cpp/layers/softmax_with_loss.cpp.
//
// Forward reads the scores twice a row (maximum, sum), once more if the probabilities are wanted; the losses
// of the rows and the number of valid labels are added up in a second step, which writes loss and normalizer.
// Backward reads the scores and writes their gradient; normalizer and loss weight never leave the device.
#include <cmath>
#include <limits>

#include "core/cuda_layer.hpp"
#include "core/scratch.hpp"
#include "math/class_labels.hpp"
#include "math/coefficient_sums.hpp"
#include "math/row_softmax.hpp"

namespace caffe::cuda {
namespace {

// The label of every row, and what it counts for.
struct Targets {
  ClassLabels labels;
  const float* class_weights;  // (classes), or null: 1 for every class

  __device__ float weight(int label) const { return class_weights ? class_weights[label] : 1.0f; }
};

// -log of the softmax of one row at its label, cut at Caffe's floor of the probability, FLT_MIN.
__device__ inline float row_loss(const RowSoftmax& softmax, float score) {
  constexpr float kMost = 87.3365448f;  // -log(FLT_MIN)
  const float loss = logf(softmax.sum) - (score - softmax.maximum);
  return loss > kMost ? kMost : loss;
}

template <class T>
__global__ void softmax_with_loss_measure_kernel(RowPlaces rows, Targets targets, const T* x,
                                                 RowSoftmax* measured, float* losses, float* valid,
                                                 float* probabilities, Complaint* complaint, int step) {
  // x, probabilities (or null): rows.count rows of rows.length; measured, losses, valid: (rows)
  const int row = team_row();
  if (row >= rows.count) return;
  const int64_t offset = rows.offset(row);
  const RowSoftmax softmax = measure_row(x + offset, rows.length, rows.step);
  if (threadIdx.x == 0) {
    targets.labels.check(row, complaint, step);
    const int label = targets.labels[row];
    measured[row] = softmax;
    valid[row] = label < 0 ? 0.0f : 1.0f;
    losses[row] = label < 0 ? 0.0f : targets.weight(label) * row_loss(softmax, x[offset + label * rows.step]);
  }
  if (!probabilities) return;
  for_own_values(x + offset, rows.length, rows.step, [&](int64_t i, float value) {
    if (i < rows.length) probabilities[offset + i * rows.step] = softmax.probability(value);
  });
}

// Sums of the losses, and of the valid labels.
struct SumLosses {
  using Value = float;
  static constexpr int kInputs = 2, kSums = 2;
  struct Channel {};

  __device__ Channel channel(int) const { return {}; }
  __device__ void add(const Channel&, const float (&values)[2], float (&sums)[2]) const {
    sums[0] += values[0];
    sums[1] += values[1];
  }

  const float* in[kInputs];
};

struct FinishLoss {
  __device__ void operator()(int, const double (&sums)[2]) const {
    const double z = count_valid ? sums[1] : fixed;
    *normalizer = static_cast<float>(fmax(1.0, z));
    *loss = static_cast<float>(sums[0] / fmax(1.0, z));
  }

  bool count_valid;
  double fixed;  // normalizer, else
  float *loss, *normalizer;
};

// dx = loss weight / Z * weight * (p - onehot(label))
template <class T>
__global__ void softmax_with_loss_backward_kernel(RowPlaces rows, Targets targets, const RowSoftmax* measured,
                                                  const float* loss_weight, const float* normalizer,
                                                  const T* x, T* dx) {
  // x, dx: rows.count rows of rows.length; measured: (rows); loss_weight, normalizer: (1)
  const int row = team_row();
  if (row >= rows.count) return;
  const int64_t offset = rows.offset(row);
  const int label = targets.labels[row];
  const RowSoftmax softmax = measured[row];
  const float factor = label < 0 ? 0.0f : *loss_weight / *normalizer * targets.weight(label);
  for_own_values(x + offset, rows.length, rows.step, [&](int64_t i, float value) {
    if (i >= rows.length) return;
    const float p = label < 0 ? 0.0f : softmax.probability(value);  // NaN counts for nothing there
    dx[offset + i * rows.step] = factor * (i == label ? p - 1.0f : p);
  });
}

class SoftmaxWithLossLayer : public CudaLayer {
 public:
  explicit SoftmaxWithLossLayer(const Args& args)
      : CudaLayer("SoftmaxWithLoss", args),
        axis_(args.integer("axis")),
        normalization_(args.text("normalization")),
        probabilities_(args.flag("probabilities")),
        class_weights_(args.reals("class_weights")) {
    if (args.flag("ignores")) ignore_ = args.integer("ignore_label");
  }

  void reshape(const Blobs& bottom, const Blobs&) override {
    const size_t axis = canonical_axis(bottom[0]->shape(), axis_);
    rows_ = Rows(*bottom[0], axis);
    outer_ = count(bottom[0]->shape(), 0, axis);
    measured_.reserve(static_cast<size_t>(rows_.count) * sizeof(RowSoftmax));
    normalizer_.reserve(sizeof(float));
    send_class_weights();
  }

  void forward(const Context& context, const Blobs& bottom, const Blobs& top) override {
    Scratch scratch(context, 0);
    float *losses = scratch.take<float>(row_bytes()), *valid = scratch.take<float>(row_bytes());
    dispatch(bottom[0]->dtype(), [&](auto zero) {
      using T = decltype(zero);
      launch(context, "softmax_with_loss_measure", row_teams(rows_), softmax_with_loss_measure_kernel<T>,
             RowPlaces(rows_), targets(bottom), bottom[0]->data<T>(), measured(), losses, valid,
             probabilities_ ? top[1]->data() : nullptr, context.complaint, context.step);
    });
    const FinishLoss finish{normalization_ == "valid", fixed_normalizer(), top[0]->data(), normalizer()};
    coefficient_sums(context, "softmax_with_loss_forward", spread(), SumLosses{{losses, valid}}, finish,
                     scratch.take<float>(partials_bytes<SumLosses>(spread())));
  }

  void backward(const Context& context, const Blobs& top, const std::vector<bool>& propagate_down,
                const Blobs& bottom) override {
    if (propagate_down[1])
      throw ConfigError("labels have no gradient; leave out propagate_down for bottom 1");
    if (!propagate_down[0]) return;
    dispatch(bottom[0]->dtype(), [&](auto zero) {
      using T = decltype(zero);
      launch(context, "softmax_with_loss_backward", row_teams(rows_), softmax_with_loss_backward_kernel<T>,
             RowPlaces(rows_), targets(bottom), measured(), top[0]->diff(), normalizer(),
             bottom[0]->data<T>(), bottom[0]->diff<T>());
    });
  }

  size_t private_bytes(bool) const override {
    return measured_.bytes() + normalizer_.bytes() + device_weights_.bytes();
  }
  size_t scratch_bytes() const override {
    return 2 * scratch_size(row_bytes()) + scratch_size(partials_bytes<SumLosses>(spread()));
  }

 private:
  RowSoftmax* measured() { return static_cast<RowSoftmax*>(measured_.data()); }
  float* normalizer() { return static_cast<float*>(normalizer_.data()); }
  size_t row_bytes() const { return static_cast<size_t>(rows_.count) * sizeof(float); }
  Spread spread() const { return {1, 1, rows_.count, 1}; }

  Targets targets(const Blobs& bottom) {
    const bool weighs = !class_weights_.empty();
    return {ClassLabels(bottom[1]->data(), rows_.length, ignore_),
            weighs ? static_cast<const float*>(device_weights_.data()) : nullptr};
  }

  void send_class_weights() {
    const size_t bytes = class_weights_.size() * sizeof(float);
    if (bytes == device_weights_.bytes()) return;  // they are there
    device_weights_.reserve(bytes);
    std::copy(class_weights_.begin(), class_weights_.end(), static_cast<float*>(device_weights_.host_data()));
    device_weights_.host_wrote();
    device_weights_.publish();
  }

  double fixed_normalizer() const {
    if (normalization_ == "full") return static_cast<double>(rows_.count);
    return normalization_ == "batch_size" ? static_cast<double>(outer_) : 1.0;
  }

  const int64_t axis_;
  const std::string normalization_;  // full, valid, batch_size or none
  const bool probabilities_;
  const std::vector<float> class_weights_;
  std::optional<int64_t> ignore_;
  Rows rows_;
  int64_t outer_ = 1;
  Storage measured_{Device::cuda}, normalizer_{Device::cuda}, device_weights_{Device::cuda};
};

REGISTER_LAYER("SoftmaxWithLoss", cuda, SoftmaxWithLossLayer);

}  // namespace
}  // namespace caffe::cuda
