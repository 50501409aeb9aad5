// TanH: y = tanh(x), element by element.
//
// Gradient: dx = dy * (1 - y^2), from y alone, so that in-place use (y over x, dx over dy) is exact.
#include "core/parallel.hpp"
#include "core/registry.hpp"
#include "math/vector_math.hpp"

namespace caffe {
namespace {

template <class T>
void tanh_forward(const T* x, T* y, int64_t count) {
  parallel_for(count, kElementwiseGrain / 4, [=](int64_t begin, int64_t end, int) {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) y[i] = vector_tanh(x[i]);
  });
}

template <class T>
void tanh_backward(const T* y, const T* dy, T* dx, int64_t count) {
  parallel_for(count, kElementwiseGrain, [=](int64_t begin, int64_t end, int) {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) {
      const float value = y[i], gradient = dy[i];
      dx[i] = gradient * (1.0f - value * value);
    }
  });
}

class TanHLayer : public Layer {
 public:
  explicit TanHLayer(const Args&) {}

  std::vector<Shape> top_shapes(const std::vector<Shape>& bottoms) const override { return bottoms; }

  void forward(const Context&, const Blobs& bottom, const Blobs& top) override {
    dispatch(top[0]->dtype(), [&](auto zero) {
      using T = decltype(zero);
      tanh_forward(bottom[0]->data<T>(), top[0]->data<T>(), top[0]->count());
    });
  }

  void backward(const Context&, const Blobs& top, const std::vector<bool>& propagate_down,
                const Blobs& bottom) override {
    if (!propagate_down[0]) return;
    dispatch(top[0]->dtype(), [&](auto zero) {
      using T = decltype(zero);
      tanh_backward(top[0]->data<T>(), top[0]->diff<T>(), bottom[0]->diff<T>(), top[0]->count());
    });
  }
};

REGISTER_LAYER("TanH", cpu, TanHLayer);

}  // namespace
}  // namespace caffe
