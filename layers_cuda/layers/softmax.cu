// Softmax on the GPU; formula, gradient and in-place use as in layers_cpp/layers/softmax.cpp.
//
// A team of threads (math/row_teams.hpp) goes over its row three times forward (maximum, sum, result) and
// twice backward (dot product, result): from memory the first time, from the caches later.
#include "core/cuda_layer.hpp"
#include "math/row_softmax.hpp"

namespace caffe::cuda {
namespace {

template <class T>
__global__ void softmax_forward_kernel(RowPlaces rows, const T* x, T* y) {
  // x, y: rows.count rows of rows.length
  const int row = team_row();
  if (row >= rows.count) return;
  const int64_t offset = rows.offset(row);
  const RowSoftmax softmax = measure_row(x + offset, rows.length, rows.step);
  for_own_values(x + offset, rows.length, rows.step, [&](int64_t i, float value) {
    if (i < rows.length) y[offset + i * rows.step] = softmax.probability(value);
  });
}

template <class T>
__global__ void softmax_backward_kernel(RowPlaces rows, const T* y, const T* dy, T* dx) {
  // y, dy, dx: rows.count rows of rows.length
  const int row = team_row();
  if (row >= rows.count) return;
  const int64_t offset = rows.offset(row);
  float dot = 0;
  for (int i = threadIdx.x; i < rows.length; i += blockDim.x) {
    const int64_t at = offset + i * rows.step;
    dot += static_cast<float>(dy[at]) * static_cast<float>(y[at]);
  }
  dot = team_sum(dot);
  for (int i = threadIdx.x; i < rows.length; i += blockDim.x) {
    const int64_t at = offset + i * rows.step;
    dx[at] = static_cast<float>(y[at]) * (static_cast<float>(dy[at]) - dot);
  }
}

class SoftmaxLayer : public CudaLayer {
 public:
  explicit SoftmaxLayer(const Args& args) : CudaLayer("Softmax", args), axis_(args.integer("axis")) {}

  void reshape(const Blobs& bottom, const Blobs&) override {
    rows_ = Rows(*bottom[0], canonical_axis(bottom[0]->shape(), axis_));
  }

  void forward(const Context& context, const Blobs& bottom, const Blobs& top) override {
    dispatch(top[0]->dtype(), [&](auto zero) {
      using T = decltype(zero);
      launch(context, "softmax_forward", row_teams(rows_), softmax_forward_kernel<T>, RowPlaces(rows_),
             bottom[0]->data<T>(), top[0]->data<T>());
    });
  }

  void backward(const Context& context, const Blobs& top, const std::vector<bool>& propagate_down,
                const Blobs& bottom) override {
    if (!propagate_down[0]) return;
    dispatch(top[0]->dtype(), [&](auto zero) {
      using T = decltype(zero);
      launch(context, "softmax_backward", row_teams(rows_), softmax_backward_kernel<T>, RowPlaces(rows_),
             top[0]->data<T>(), top[0]->diff<T>(), bottom[0]->diff<T>());
    });
  }

 private:
  const int64_t axis_;
  Rows rows_;
};

REGISTER_LAYER("Softmax", cuda, SoftmaxLayer);

}  // namespace
}  // namespace caffe::cuda
