// Bias: y = x + b, with one b for each index along a range of x's axes; b is learned, or is bottom 1.
//
// Gradient: dx = dy; db = sum of dy over the other axes, accumulated into a learned b, overwritten in a
// bottom. In-place use over bottom 0 is fine.
#include <cstring>

#include "core/registry.hpp"
#include "layers/coefficients.hpp"

namespace caffe {
namespace {

template <class T>
void bias_forward(const Broadcast& broadcast, const T* x, const float* bias, T* y) {
  parallel_for(broadcast.count(), kElementwiseGrain, [&](int64_t begin, int64_t end, int) {
    broadcast.for_each_run(begin, end, [&](int64_t at, int64_t size, int64_t k, bool each) {
      const T* from = x + at;
      const float* b = bias + k;
      T* to = y + at;
      if (each) {
#pragma omp simd
        for (int64_t i = 0; i < size; ++i) to[i] = from[i] + b[i];
      } else {
        const float shift = *b;
#pragma omp simd
        for (int64_t i = 0; i < size; ++i) to[i] = from[i] + shift;
      }
    });
  });
}

// dx is null where it is not wanted, or dy itself; then only the sums are made.
template <class T>
void bias_backward(const Broadcast& broadcast, const T* dy, T* dx, bool want_sums, double* memory) {
  sum(broadcast, want_sums ? 1 : 0, memory, [&](int64_t begin, int64_t end, double* sums) {
    broadcast.for_each_run(begin, end, [&](int64_t at, int64_t size, int64_t k, bool each) {
      if (want_sums) add_sum(dy + at, size, each, sums + k);
      if (dx) std::memcpy(dx + at, dy + at, static_cast<size_t>(size) * sizeof(T));
    });
  });
}

class BiasLayer : public Layer {
 public:
  explicit BiasLayer(const Args& args) : axis_(args.integer("axis")), num_axes_(args.integer("num_axes")) {}

  std::vector<Shape> top_shapes(const std::vector<Shape>& bottoms) const override {
    coefficient_axes(bottoms, axis_, num_axes_);
    return {bottoms[0]};
  }

  std::vector<Shape> param_shapes(const std::vector<Shape>& bottoms) const override {
    if (bottoms.size() == 2) return {};
    const auto [begin, end] = coefficient_axes(bottoms, axis_, num_axes_);
    return {Shape(bottoms[0].begin() + static_cast<int64_t>(begin),
                  bottoms[0].begin() + static_cast<int64_t>(end))};
  }

  void reshape(const Blobs& bottom, const Blobs&) override {
    std::vector<Shape> shapes;
    for (const BlobPtr& each : bottom) shapes.push_back(each->shape());
    const auto [begin, end] = coefficient_axes(shapes, axis_, num_axes_);
    broadcast_ = Broadcast(*bottom[0], begin, end);
  }

  void forward(const Context& context, const Blobs& bottom, const Blobs& top) override {
    const float* bias = pack(broadcast_, coefficients(bottom), static_cast<float*>(context.scratch->data()));
    dispatch(top[0]->dtype(), [&](auto zero) {
      using T = decltype(zero);
      bias_forward(broadcast_, bottom[0]->data<T>(), bias, top[0]->data<T>());
    });
  }

  void backward(const Context& context, const Blobs& top, const std::vector<bool>& propagate_down,
                const Blobs& bottom) override {
    const bool want_sums = learned(bottom) ? param_propagate_down[0] : propagate_down[1];
    const bool want_dx = propagate_down[0] && bottom[0] != top[0];
    if (!want_sums && !want_dx) return;
    double* sums = static_cast<double*>(context.scratch->data());
    dispatch(top[0]->dtype(), [&](auto zero) {
      using T = decltype(zero);
      T* dx = want_dx ? bottom[0]->diff<T>() : nullptr;
      bias_backward(broadcast_, top[0]->diff<T>(), dx, want_sums, sums);
    });
    if (want_sums) unpack(broadcast_, sums, coefficients(bottom), learned(bottom));
  }

  size_t scratch_bytes() const override {
    const size_t packed = static_cast<size_t>(broadcast_.coefficients()) * sizeof(float);
    return runs_backward ? std::max(sum_bytes(broadcast_, 1), packed) : packed;
  }

 private:
  static bool learned(const Blobs& bottom) { return bottom.size() == 1; }
  Blob& coefficients(const Blobs& bottom) const { return learned(bottom) ? *params[0] : *bottom[1]; }

  const int64_t axis_, num_axes_;
  Broadcast broadcast_;
};

REGISTER_LAYER("Bias", cpu, BiasLayer);

}  // namespace
}  // namespace caffe
