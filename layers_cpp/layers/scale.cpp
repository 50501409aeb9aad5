// Scale: y = x s + b, with one s and one b for each index along a range of x's axes; s is learned, or is
// bottom 1; b is optional and always learned.
//
// Gradient: dx = dy s; ds = sum of dy x and db = sum of dy over the other axes, accumulated into learned
// blobs, overwritten in a bottom. In place over bottom 0 a private copy of x is kept, if ds may be asked for.
#include <cstring>

#include "core/registry.hpp"
#include "layers/coefficients.hpp"

namespace caffe {
namespace {

template <class T>
void scale_run(const T* x, const float* s, const float* b, bool each, T* y, int64_t size) {
  if (each && b) {
#pragma omp simd
    for (int64_t i = 0; i < size; ++i) y[i] = x[i] * s[i] + b[i];
  } else if (each) {
#pragma omp simd
    for (int64_t i = 0; i < size; ++i) y[i] = x[i] * s[i];
  } else {
    const float factor = *s, shift = b ? *b : 0.0f;
#pragma omp simd
    for (int64_t i = 0; i < size; ++i) y[i] = x[i] * factor + shift;
  }
}

// sums[i] += dy[i] x[i] if `each`, else sums[0] += the sum of dy x.
template <class T>
void add_product(const T* dy, const T* x, int64_t size, bool each, double* sums) {
  const auto product = [=](int64_t i) {
    return static_cast<double>(static_cast<float>(dy[i])) * static_cast<double>(static_cast<float>(x[i]));
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

// bias is null where there is none; kept is null, or gets a copy of x before y may overwrite it.
template <class T>
void scale_forward(const Broadcast& broadcast, const T* x, const float* scale, const float* bias, T* kept,
                   T* y) {
  parallel_for(broadcast.count(), kElementwiseGrain, [&](int64_t begin, int64_t end, int) {
    broadcast.for_each_run(begin, end, [&](int64_t at, int64_t size, int64_t k, bool each) {
      if (kept) std::memcpy(kept + at, x + at, static_cast<size_t>(size) * sizeof(T));
      scale_run(x + at, scale + k, bias ? bias + k : nullptr, each, y + at, size);
    });
  });
}

struct Wanted {
  bool dx, ds, db;
};

// Sums in memory: those of ds, if wanted, then those of db. dx, which may be dy itself, is written last.
template <class T>
void scale_backward(const Broadcast& broadcast, const T* x, const float* scale, const T* dy, T* dx,
                    Wanted wanted, double* memory) {
  sum(broadcast, wanted.ds + wanted.db, memory, [&](int64_t begin, int64_t end, double* sums) {
    double* sums_of_bias = sums + (wanted.ds ? broadcast.coefficients() : 0);
    broadcast.for_each_run(begin, end, [&](int64_t at, int64_t size, int64_t k, bool each) {
      if (wanted.ds) add_product(dy + at, x + at, size, each, sums + k);
      if (wanted.db) add_sum(dy + at, size, each, sums_of_bias + k);
      if (wanted.dx) scale_run(dy + at, scale + k, nullptr, each, dx + at, size);
    });
  });
}

class ScaleLayer : public Layer {
 public:
  explicit ScaleLayer(const Args& args)
      : axis_(args.integer("axis")),
        num_axes_(args.integer("num_axes")),
        bias_term_(args.flag("bias_term")) {}

  std::vector<Shape> top_shapes(const std::vector<Shape>& bottoms) const override {
    coefficient_axes(bottoms, axis_, num_axes_);
    return {bottoms[0]};
  }

  std::vector<Shape> param_shapes(const std::vector<Shape>& bottoms) const override {
    const auto [begin, end] = coefficient_axes(bottoms, axis_, num_axes_);
    const Shape shape(bottoms[0].begin() + static_cast<int64_t>(begin),
                      bottoms[0].begin() + static_cast<int64_t>(end));
    const size_t learned = (bottoms.size() == 1 ? 1 : 0) + (bias_term_ ? 1 : 0);
    return std::vector<Shape>(learned, shape);
  }

  void reshape(const Blobs& bottom, const Blobs& top) override {
    std::vector<Shape> shapes;
    for (const BlobPtr& each : bottom) shapes.push_back(each->shape());
    const auto [begin, end] = coefficient_axes(shapes, axis_, num_axes_);
    broadcast_ = Broadcast(*bottom[0], begin, end);
    const bool may_want_ds = runs_backward && (!learned(bottom) || param_propagate_down[0]);
    keeps_input_ = bottom[0] == top[0] && may_want_ds;
    kept_bytes_ = keeps_input_ ? bottom[0]->bytes() : 0;
    kept_.reserve(kept_bytes_);
    kept_valid_ = false;
  }

  void forward(const Context& context, const Blobs& bottom, const Blobs& top) override {
    float* memory = static_cast<float*>(context.scratch->data());
    const float* scale = pack(broadcast_, coefficients(bottom), memory);
    const float* bias =
        bias_term_ ? pack(broadcast_, *params.back(), memory + broadcast_.coefficients()) : nullptr;
    dispatch(top[0]->dtype(), [&](auto zero) {
      using T = decltype(zero);
      T* kept = keeps_input_ ? static_cast<T*>(kept_.data()) : nullptr;
      scale_forward(broadcast_, bottom[0]->data<T>(), scale, bias, kept, top[0]->data<T>());
    });
    kept_valid_ = keeps_input_;
  }

  void backward(const Context& context, const Blobs& top, const std::vector<bool>& propagate_down,
                const Blobs& bottom) override {
    const bool want_ds = learned(bottom) ? param_propagate_down[0] : propagate_down[1];
    const bool want_db = bias_term_ && param_propagate_down.back();
    const Wanted wanted{propagate_down[0], want_ds, want_db};
    if (want_ds && keeps_input_ && !kept_valid_)
      throw ConfigError(
          "the last forward, in place and without backward in view, did not keep its input: run it again");
    double* sums = static_cast<double*>(context.scratch->data());
    double* end_of_sums = sums + sum_bytes(broadcast_, 2) / sizeof(double);
    const float* scale = pack(broadcast_, coefficients(bottom), reinterpret_cast<float*>(end_of_sums));
    dispatch(top[0]->dtype(), [&](auto zero) {
      using T = decltype(zero);
      const T* x = keeps_input_ ? static_cast<const T*>(kept_.data()) : bottom[0]->data<T>();
      T* dx = wanted.dx ? bottom[0]->diff<T>() : nullptr;
      scale_backward(broadcast_, x, scale, top[0]->diff<T>(), dx, wanted, sums);
    });
    if (want_ds) unpack(broadcast_, sums, coefficients(bottom), learned(bottom));
    if (want_db) unpack(broadcast_, sums + (want_ds ? broadcast_.coefficients() : 0), *params.back(), true);
  }

  size_t private_bytes(bool) const override { return kept_bytes_; }
  // Forward needs room for packed scale and bias, backward for the sums and the packed scale.
  size_t scratch_bytes() const override {
    const size_t packed = static_cast<size_t>(broadcast_.coefficients()) * sizeof(float);
    return runs_backward ? sum_bytes(broadcast_, 2) + 2 * packed : 2 * packed;
  }

 private:
  static bool learned(const Blobs& bottom) { return bottom.size() == 1; }
  Blob& coefficients(const Blobs& bottom) const { return learned(bottom) ? *params[0] : *bottom[1]; }

  const int64_t axis_, num_axes_;
  const bool bias_term_;
  Broadcast broadcast_;
  Storage kept_;  // x, where the layer works in place and backward needs it
  size_t kept_bytes_ = 0;
  bool keeps_input_ = false, kept_valid_ = false;
};

REGISTER_LAYER("Scale", cpu, ScaleLayer);

}  // namespace
}  // namespace caffe
