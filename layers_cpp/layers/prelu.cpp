// PReLU: y = x where x > 0, else a x, with one learned slope a for each channel (axis 1), or one for all.
//
// Gradient: dx = dy (x > 0 ? 1 : a); da = sum of dy x where x is not above 0, accumulated. In place a copy of
// x is kept, if backward is to run: the slopes may become negative, and then y does not say where x was.
#include <cstring>

#include "core/registry.hpp"
#include "layers/coefficients.hpp"
#include "layers/kept_input.hpp"

namespace caffe {
namespace {

// to[i] = from[i], times its slope where x[i] is not above 0.
template <class T>
void bend(const T* x, const T* from, const float* slopes, bool each, T* to, int64_t size) {
  if (each) {
#pragma omp simd
    for (int64_t i = 0; i < size; ++i) {
      const float value = from[i], lower = slopes[i] * value;
      to[i] = static_cast<float>(x[i]) > 0 ? value : lower;
    }
    return;
  }
  const float slope = *slopes;
#pragma omp simd
  for (int64_t i = 0; i < size; ++i) {
    const float value = from[i], lower = slope * value;
    to[i] = static_cast<float>(x[i]) > 0 ? value : lower;
  }
}

// sums[i] += dy[i] x[i] where x[i] is not above 0; into sums[0] unless `each`.
template <class T>
void add_lower_products(const T* dy, const T* x, int64_t size, bool each, double* sums) {
  const auto product = [=](int64_t i) {
    const float value = x[i];
    const double lower = value > 0 ? 0.0f : value;
    return static_cast<double>(static_cast<float>(dy[i])) * lower;
  };
  if (each) {
#pragma omp simd
    for (int64_t i = 0; i < size; ++i) sums[i] += product(i);
    return;
  }
  double total = 0;
#pragma omp simd reduction(+ : total)
  for (int64_t i = 0; i < size; ++i) total += product(i);
  sums[0] += total;
}

// kept is null, or gets a copy of x before y may overwrite it.
template <class T>
void prelu_forward(const Broadcast& broadcast, const T* x, const float* slopes, T* kept, T* y) {
  parallel_for(broadcast.count(), kElementwiseGrain, [&](int64_t begin, int64_t end, int) {
    broadcast.for_each_run(begin, end, [&](int64_t at, int64_t size, int64_t k, bool each) {
      if (kept) std::memcpy(static_cast<void*>(kept + at), x + at, static_cast<size_t>(size) * sizeof(T));
      bend(x + at, x + at, slopes + k, each, y + at, size);
    });
  });
}

// dx, which may be dy itself, is written after it was read; it is null where it is not wanted.
template <class T>
void prelu_backward(const Broadcast& broadcast, const T* x, const float* slopes, const T* dy, T* dx,
                    bool want_sums, double* memory) {
  sum(broadcast, want_sums, memory, [&](int64_t begin, int64_t end, double* sums) {
    broadcast.for_each_run(begin, end, [&](int64_t at, int64_t size, int64_t k, bool each) {
      if (want_sums) add_lower_products(dy + at, x + at, size, each, sums + k);
      if (dx) bend(x + at, dy + at, slopes + k, each, dx + at, size);
    });
  });
}

class PReLULayer : public Layer {
 public:
  explicit PReLULayer(const Args& args) : shared_(args.flag("channel_shared")) {}

  std::vector<Shape> top_shapes(const std::vector<Shape>& bottoms) const override {
    if (bottoms[0].size() < 2)
      throw ShapeError(message("the bottom must have channels (axis 1), got shape ", to_string(bottoms[0])));
    return bottoms;
  }
  std::vector<Shape> param_shapes(const std::vector<Shape>& bottoms) const override {
    return {shared_ ? Shape{} : Shape{bottoms[0][1]}};
  }

  void reshape(const Blobs& bottom, const Blobs& top) override {
    broadcast_ = shared_ ? Broadcast(*bottom[0], 0, 0) : Broadcast(*bottom[0], 1, 2);
    kept_.reshape(bottom, top, runs_backward);
  }

  void forward(const Context&, const Blobs& bottom, const Blobs& top) override {
    dispatch(top[0]->dtype(), [&](auto zero) {
      using T = decltype(zero);
      prelu_forward(broadcast_, bottom[0]->data<T>(), params[0]->data(), kept_.place<T>(), top[0]->data<T>());
    });
  }

  void backward(const Context& context, const Blobs& top, const std::vector<bool>& propagate_down,
                const Blobs& bottom) override {
    const bool want_sums = param_propagate_down[0];
    double* sums = static_cast<double*>(context.scratch->data());
    dispatch(top[0]->dtype(), [&](auto zero) {
      using T = decltype(zero);
      T* dx = propagate_down[0] ? bottom[0]->diff<T>() : nullptr;
      prelu_backward(broadcast_, kept_.data<T>(*bottom[0]), params[0]->data(), top[0]->diff<T>(), dx,
                     want_sums, sums);
    });
    if (want_sums) unpack(broadcast_, sums, *params[0], true);
  }

  size_t scratch_bytes() const override { return runs_backward ? sum_bytes(broadcast_, 1) : 0; }

 private:
  const bool shared_;
  Broadcast broadcast_;
  KeptInput kept_{storages};
};

REGISTER_LAYER("PReLU", cpu, PReLULayer);

}  // namespace
}  // namespace caffe
