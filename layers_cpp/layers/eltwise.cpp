// Eltwise: combines bottoms of one shape element by element.
//   SUM: y = sum_i c_i x_i       dx_i = c_i dy
//   PROD: y = prod_i x_i         dx_i = dy prod_{j != i} x_j, or dy y / x_i where stable_prod_grad is off
//   MAX: y = max_i x_i           dx_i = dy where i won, else 0
// MAX: bottom 0 beats bottom 1 only when greater; each later bottom wins only when greater than the best so
// far. The backward pass finds the winners again instead of keeping a mask. Not for in-place use. A ReLU may
// be fused into SUM: then y = max(sum, 0) and dx_i = c_i dy where y > 0, else 0.
// The layer above may have masked dy already.
#include <algorithm>
#include <cstring>

#include "core/error.hpp"
#include "core/registry.hpp"
#include "math/weighted_sum.hpp"

namespace caffe {
namespace {

template <class T>
using Arrays = std::vector<const T*>;
template <class T>
using Outputs = std::vector<T*>;  // null where no gradient is wanted

// Runs body(begin, size) on blocks small enough that what several bottoms share stays in cache.
template <class Body>
void in_blocks(int64_t count, Body&& body) {
  parallel_for(count, kElementwiseGrain, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; i += kSumBlock) body(i, std::min(kSumBlock, end - i));
  });
}

template <class T>
void prod_forward(const Arrays<T>& x, T* y, int64_t count) {
  in_blocks(count, [&](int64_t begin, int64_t size) {
    float product[kSumBlock];
    std::fill_n(product, size, 1.0f);
    for (const T* each : x) {
      const T* factor = each + begin;
#pragma omp simd
      for (int64_t i = 0; i < size; ++i) product[i] *= factor[i];
    }
#pragma omp simd
    for (int64_t i = 0; i < size; ++i) y[begin + i] = product[i];
  });
}

template <class T>
void max_forward(const Arrays<T>& x, T* y, int64_t count) {
  in_blocks(count, [&](int64_t begin, int64_t size) {
    float best[kSumBlock];
    const T *first = x[0] + begin, *second = x[1] + begin;
#pragma omp simd
    for (int64_t i = 0; i < size; ++i) best[i] = float(first[i]) > float(second[i]) ? first[i] : second[i];
    for (size_t k = 2; k < x.size(); ++k) {
      const T* later = x[k] + begin;
#pragma omp simd
      for (int64_t i = 0; i < size; ++i) best[i] = float(later[i]) > best[i] ? float(later[i]) : best[i];
    }
#pragma omp simd
    for (int64_t i = 0; i < size; ++i) y[begin + i] = best[i];
  });
}

template <class T>
void sum_backward(const T* dy, const std::vector<float>& c, const Outputs<T>& dx, int64_t count) {
  in_blocks(count, [&](int64_t begin, int64_t size) {
    for (size_t k = 0; k < dx.size(); ++k) {
      if (!dx[k]) continue;
      T* to = dx[k] + begin;
      const float factor = c[k];
      if (factor == 1.0f) {
        std::memcpy(to, dy + begin, static_cast<size_t>(size) * sizeof(T));
        continue;
      }
#pragma omp simd
      for (int64_t i = 0; i < size; ++i) to[i] = factor * dy[begin + i];
    }
  });
}

// dy times all factors but number `k`.
template <class T>
void product_of_others(const Arrays<T>& x, const T* dy, size_t k, T* dx, int64_t begin, int64_t size) {
  float product[kSumBlock];
  std::fill_n(product, size, 1.0f);
  for (size_t j = 0; j < x.size(); ++j) {
    if (j == k) continue;
    const T* factor = x[j] + begin;
#pragma omp simd
    for (int64_t i = 0; i < size; ++i) product[i] *= factor[i];
  }
#pragma omp simd
  for (int64_t i = 0; i < size; ++i) dx[begin + i] = product[i] * dy[begin + i];
}

// The same under a fused ReLU.
template <class T>
void clipped_sum_backward(const T* y, const T* dy, const std::vector<float>& c, const Outputs<T>& dx,
                          int64_t count) {
  in_blocks(count, [&](int64_t begin, int64_t size) {
    for (size_t k = 0; k < dx.size(); ++k) {
      if (!dx[k]) continue;
      T* to = dx[k] + begin;
      const float factor = c[k];
#pragma omp simd
      for (int64_t i = 0; i < size; ++i) {
        const float gradient = factor * dy[begin + i];
        to[i] = float(y[begin + i]) > 0 ? gradient : 0.0f;
      }
    }
  });
}

template <class T>
void prod_backward(const Arrays<T>& x, const T* y, const T* dy, bool stable, const Outputs<T>& dx,
                   int64_t count) {
  in_blocks(count, [&](int64_t begin, int64_t size) {
    for (size_t k = 0; k < x.size(); ++k) {
      if (!dx[k]) continue;
      if (stable) {
        product_of_others(x, dy, k, dx[k], begin, size);
        continue;
      }
#pragma omp simd
      for (int64_t i = begin; i < begin + size; ++i) dx[k][i] = float(y[i]) / float(x[k][i]) * float(dy[i]);
    }
  });
}

template <class T>
void max_backward(const Arrays<T>& x, const T* dy, const Outputs<T>& dx, int64_t count) {
  in_blocks(count, [&](int64_t begin, int64_t size) {
    float best[kSumBlock];
    int winner[kSumBlock];
#pragma omp simd
    for (int64_t i = 0; i < size; ++i) {
      const float first = x[0][begin + i], second = x[1][begin + i];
      winner[i] = first > second ? 0 : 1;
      best[i] = first > second ? first : second;
    }
    for (int k = 2; k < static_cast<int>(x.size()); ++k) {
      const T* later = x[static_cast<size_t>(k)] + begin;
#pragma omp simd
      for (int64_t i = 0; i < size; ++i) {
        const float value = later[i], before = best[i];
        const int winner_before = winner[i];
        winner[i] = value > before ? k : winner_before;
        best[i] = value > before ? value : before;
      }
    }
    for (int k = 0; k < static_cast<int>(x.size()); ++k) {
      T* to = dx[static_cast<size_t>(k)];
      if (!to) continue;
#pragma omp simd
      for (int64_t i = 0; i < size; ++i) {
        const float gradient = dy[begin + i];  // loaded always: a load under a condition is not vectorised
        to[begin + i] = winner[i] == k ? gradient : 0.0f;
      }
    }
  });
}

class EltwiseLayer : public Layer {
 public:
  explicit EltwiseLayer(const Args& args)
      : operation_(args.text("operation")),
        coeff_(args.reals("coeff")),
        stable_(args.flag("stable_prod_grad")),
        relu_(args.flag("relu")),
        masks_(relu_ && args.flag("relu_backward")) {}

  std::vector<Shape> top_shapes(const std::vector<Shape>& bottoms) const override {
    for (size_t i = 1; i < bottoms.size(); ++i)
      if (bottoms[i] != bottoms[0])
        throw ShapeError(message("all bottoms must have one shape, bottom 0 has ", to_string(bottoms[0]),
                                 ", bottom ", i, " has ", to_string(bottoms[i])));
    return {bottoms[0]};
  }

  void forward(const Context&, const Blobs& bottom, const Blobs& top) override {
    dispatch(top[0]->dtype(), [&](auto zero) {
      using T = decltype(zero);
      const Arrays<T> x = inputs<T>(bottom);
      T* y = top[0]->data<T>();
      if (operation_ == "SUM") weighted_sum(x, coeff_, y, top[0]->count(), relu_ ? 0.0f : -INFINITY);
      if (operation_ == "PROD") prod_forward(x, y, top[0]->count());
      if (operation_ == "MAX") max_forward(x, y, top[0]->count());
    });
  }

  void backward(const Context&, const Blobs& top, const std::vector<bool>& propagate_down,
                const Blobs& bottom) override {
    dispatch(top[0]->dtype(), [&](auto zero) {
      using T = decltype(zero);
      Outputs<T> dx;
      for (size_t i = 0; i < bottom.size(); ++i)
        dx.push_back(propagate_down[i] ? bottom[i]->diff<T>() : nullptr);
      const T* dy = top[0]->diff<T>();
      const int64_t count = top[0]->count();
      if (masks_) return clipped_sum_backward(top[0]->data<T>(), dy, coeff_, dx, count);
      if (operation_ == "SUM") return sum_backward(dy, coeff_, dx, count);
      const Arrays<T> x = inputs<T>(bottom);
      if (operation_ == "PROD") prod_backward(x, top[0]->data<T>(), dy, stable_, dx, count);
      if (operation_ == "MAX") max_backward(x, dy, dx, count);
    });
  }

 private:
  template <class T>
  static Arrays<T> inputs(const Blobs& bottom) {
    Arrays<T> x;
    for (const BlobPtr& each : bottom) x.push_back(each->data<T>());
    return x;
  }

  const std::string operation_;     // "SUM", "PROD" or "MAX"
  const std::vector<float> coeff_;  // one for each bottom, only used by SUM
  const bool stable_, relu_, masks_;
};

REGISTER_LAYER("Eltwise", cpu, EltwiseLayer);

}  // namespace
}  // namespace caffe
