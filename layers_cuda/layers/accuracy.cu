// Accuracy on the GPU; rule and ties as in layers_cpp/layers/accuracy.cpp.
//
// A team of threads (math/row_teams.hpp) reads each row of scores once. Right and counted rows are counted in
// whole numbers, whose order does not matter, and divided in a second kernel.
#include "core/accelerator.hpp"
#include "core/cuda_layer.hpp"
#include "core/error.hpp"
#include "math/class_labels.hpp"
#include "math/row_teams.hpp"

namespace caffe::cuda {
namespace {

// Rows that are right, and rows that count: of each class, or in all (classes = 1).
struct Counts {
  int *right, *all;

  __device__ void add(int at, bool is_right) const {
    atomicAdd(all + at, 1);
    if (is_right) atomicAdd(right + at, 1);
  }
};

template <class T>
__device__ bool is_right(const T* scores, int classes, int64_t step, int label, int top_k) {
  const float score = scores[label * step];
  float as_high = 0;  // classes, the label itself included
  for (int i = threadIdx.x; i < classes; i += blockDim.x)
    as_high += static_cast<float>(scores[i * step]) >= score ? 1.0f : 0.0f;
  as_high = team_sum(as_high);
  return as_high >= 1 && as_high <= static_cast<float>(top_k);
}

template <class T>
__global__ void accuracy_judge_kernel(RowPlaces rows, ClassLabels labels, int top_k, const T* scores,
                                      Counts total, Counts per_class, Complaint* complaint, int step) {
  // scores: rows.count rows of rows.length; total.*: (1); per_class.*: (rows.length), or null
  const int row = team_row();
  if (row >= rows.count) return;
  const int label = labels[row];
  if (label < 0) {
    if (threadIdx.x == 0) labels.check(row, complaint, step);
    return;
  }
  const bool right = is_right(scores + rows.offset(row), rows.length, rows.step, label, top_k);
  if (threadIdx.x > 0) return;
  total.add(0, right);
  if (per_class.all) per_class.add(label, right);
}

__global__ void accuracy_share_kernel(Counts counts, float* shares, int count) {
  // counts.*, shares: (count)
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count) return;
  const int all = counts.all[i];
  shares[i] = all == 0 ? 0.0f : static_cast<float>(counts.right[i]) / static_cast<float>(all);
}

class AccuracyLayer : public CudaLayer {
 public:
  explicit AccuracyLayer(const Args& args)
      : CudaLayer("Accuracy", args),
        axis_(args.integer("axis")),
        top_k_(args.integer("top_k")),
        per_class_(args.flag("per_class")) {
    if (args.flag("ignores")) ignore_ = args.integer("ignore_label");
  }

  void reshape(const Blobs& bottom, const Blobs&) override {
    rows_ = Rows(*bottom[0], canonical_axis(bottom[0]->shape(), axis_));
    classes_ = per_class_ ? bottom[0]->dim(canonical_axis(bottom[0]->shape(), axis_)) : 0;
  }

  void forward(const Context& context, const Blobs& bottom, const Blobs& top) override {
    int* memory = static_cast<int*>(context.scratch->overwrite());
    accelerator().clear(memory, scratch_bytes());
    const Counts total{memory, memory + 1};
    const Counts per_class{memory + 2, per_class_ ? memory + 2 + classes_ : nullptr};
    const ClassLabels labels(bottom[1]->data(), rows_.length, ignore_);
    dispatch(bottom[0]->dtype(), [&](auto zero) {
      using T = decltype(zero);
      launch(context, "accuracy_judge", row_teams(rows_), accuracy_judge_kernel<T>, RowPlaces(rows_), labels,
             top_k_, bottom[0]->data<T>(), total, per_class, context.complaint, context.step);
    });
    launch(context, "accuracy_share", grid_for(1, 1), accuracy_share_kernel, total, top[0]->data(), 1);
    launch(context, "accuracy_share", grid_for(classes_), accuracy_share_kernel, per_class,
           per_class_ ? top[1]->data() : nullptr, classes_);
  }

  void backward(const Context&, const Blobs&, const std::vector<bool>& propagate_down,
                const Blobs&) override {
    if (propagate_down[0] || propagate_down[1])
      throw ConfigError("Accuracy has no gradient; include it in phase TEST only, or give it no loss_weight");
  }

  size_t scratch_bytes() const override { return static_cast<size_t>(2 + 2 * classes_) * sizeof(int); }

 private:
  const int64_t axis_, top_k_;
  const bool per_class_;
  std::optional<int64_t> ignore_;
  Rows rows_;
  int64_t classes_ = 0;  // of the second top, 0 without one
};

REGISTER_LAYER("Accuracy", cuda, AccuracyLayer);

}  // namespace
}  // namespace caffe::cuda
