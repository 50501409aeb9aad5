// ReLU: y = max(x, 0) + s * min(x, 0), element by element, s = negative_slope.
//
// Gradient: dx = dy * (y > 0 ? 1 : s). It is decided by the sign of y, which for s >= 0 is the sign of x, so
// that in-place use (y over x, dx over dy) is exact. NaN passes through in both directions.
#include "core/parallel.hpp"
#include "core/registry.hpp"

namespace caffe {
namespace {

template <class T>
void relu_forward(const T* x, T* y, int64_t count, float slope) {
  parallel_for(count, kElementwiseGrain, [=](int64_t begin, int64_t end, int) {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) {
      const float value = x[i];
      y[i] = value > 0 ? value : (value <= 0 ? slope * value : value);
    }
  });
}

template <class T>
void relu_backward(const T* y, const T* dy, T* dx, int64_t count, float slope) {
  parallel_for(count, kElementwiseGrain, [=](int64_t begin, int64_t end, int) {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) {
      const float gradient = dy[i];
      dx[i] = static_cast<float>(y[i]) > 0 ? gradient : slope * gradient;
    }
  });
}

class ReLULayer : public Layer {
 public:
  explicit ReLULayer(const Args& args) : slope_(args.real("negative_slope")) {}

  std::vector<Shape> top_shapes(const std::vector<Shape>& bottoms) const override { return bottoms; }

  void forward(const Context&, const Blobs& bottom, const Blobs& top) override {
    dispatch(top[0]->dtype(), [&](auto zero) {
      using T = decltype(zero);
      relu_forward(bottom[0]->data<T>(), top[0]->data<T>(), top[0]->count(), slope_);
    });
  }

  void backward(const Context&, const Blobs& top, const std::vector<bool>& propagate_down,
                const Blobs& bottom) override {
    if (!propagate_down[0]) return;
    // With a negative slope below 0 the sign of y says nothing; then x decides (the mapping refuses in-place
    // use).
    const BlobPtr& sign = slope_ < 0 ? bottom[0] : top[0];
    dispatch(top[0]->dtype(), [&](auto zero) {
      using T = decltype(zero);
      relu_backward(sign->data<T>(), top[0]->diff<T>(), bottom[0]->diff<T>(), top[0]->count(), slope_);
    });
  }

 private:
  const float slope_;
};

REGISTER_LAYER("ReLU", cpu, ReLULayer);

}  // namespace
}  // namespace caffe
