// Softmax along one axis of a blob (N, C, ...): y = exp(x - max) / sum(exp(x - max)).
//
// Gradient: dx = y * (dy - sum(dy * y)), the sum along the axis. In-place use (y over x, dx over dy) is
// exact: every row is read before it is written.
#include "math/softmax.hpp"

#include "core/registry.hpp"

namespace caffe {
namespace {

template <class T>
void softmax_forward(const Rows& rows, const T* x, T* y) {
  for_each_row(rows, [&](int64_t row, auto step) {
    const T* from = x + rows.offset(row);
    T* to = y + rows.offset(row);
    const SoftmaxRow softmax = measure_row(from, rows.length, step);
#pragma omp simd
    for (int64_t i = 0; i < rows.length; ++i) to[i * step] = softmax.probability(from[i * step]);
  });
}

template <class T>
void softmax_backward(const Rows& rows, const T* y, const T* dy, T* dx) {
  for_each_row(rows, [&](int64_t row, auto step) {
    const int64_t offset = rows.offset(row);
    const T *probability = y + offset, *from = dy + offset;
    T* to = dx + offset;
    float dot = 0;
#pragma omp simd reduction(+ : dot)
    for (int64_t i = 0; i < rows.length; ++i)
      dot += static_cast<float>(from[i * step]) * static_cast<float>(probability[i * step]);
#pragma omp simd
    for (int64_t i = 0; i < rows.length; ++i)
      to[i * step] = static_cast<float>(probability[i * step]) * (static_cast<float>(from[i * step]) - dot);
  });
}

class SoftmaxLayer : public Layer {
 public:
  explicit SoftmaxLayer(const Args& args) : axis_(args.integer("axis")) {}

  std::vector<Shape> top_shapes(const std::vector<Shape>& bottoms) const override {
    canonical_axis(bottoms[0], axis_);
    return bottoms;
  }

  void reshape(const Blobs& bottom, const Blobs&) override {
    rows_ = Rows(*bottom[0], canonical_axis(bottom[0]->shape(), axis_));
  }

  void forward(const Context&, const Blobs& bottom, const Blobs& top) override {
    dispatch(top[0]->dtype(), [&](auto zero) {
      using T = decltype(zero);
      softmax_forward(rows_, bottom[0]->data<T>(), top[0]->data<T>());
    });
  }

  void backward(const Context&, const Blobs& top, const std::vector<bool>& propagate_down,
                const Blobs& bottom) override {
    if (!propagate_down[0]) return;
    dispatch(top[0]->dtype(), [&](auto zero) {
      using T = decltype(zero);
      softmax_backward(rows_, top[0]->data<T>(), top[0]->diff<T>(), bottom[0]->diff<T>());
    });
  }

 private:
  const int64_t axis_;
  Rows rows_;
};

REGISTER_LAYER("Softmax", cpu, SoftmaxLayer);

}  // namespace
}  // namespace caffe
