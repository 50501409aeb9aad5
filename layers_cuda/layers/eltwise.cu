// Eltwise on the GPU; formulas and rules as in layers_cpp/layers/eltwise.cpp. Each thread reads and writes 16
// bytes of every array; a backward pass makes all wanted gradients at once.
#include "core/cuda_layer.hpp"
#include "core/error.hpp"
#include "math/weighted_sum.hpp"

namespace caffe::cuda {
namespace {

template <class T>
using Arrays = ArrayList<const T>;
template <class T>
using Outputs = ArrayList<T>;  // null where no gradient is wanted

// y, and each of x: (count).
template <class T>
__global__ void eltwise_prod_forward_kernel(PackWalk walk, Arrays<T> x, T* y) {
  for_own_pack<T>(walk, [&](int64_t begin, auto size) {
    constexpr int kSize = size;
    float product[kSize];
#pragma unroll
    for (int i = 0; i < kSize; ++i) product[i] = 1.0f;
    for (int k = 0; k < x.count; ++k) {
      const auto factor = load_pack<T, kSize>(x.at[k] + begin);
#pragma unroll
      for (int i = 0; i < kSize; ++i) product[i] *= factor.at[i];
    }
    Pack<T, kSize> result;
#pragma unroll
    for (int i = 0; i < kSize; ++i) result.at[i] = product[i];
    store_pack(y + begin, result);
  });
}

// The largest value at each place, and which array it came from.
template <int kSize>
struct Best {
  float value[kSize];
  int winner[kSize];
};

template <int kSize, class T>
__device__ Best<kSize> best_of(const Arrays<T>& x, int64_t begin) {
  Best<kSize> best;
  const auto first = load_pack<T, kSize>(x.at[0] + begin), second = load_pack<T, kSize>(x.at[1] + begin);
#pragma unroll
  for (int i = 0; i < kSize; ++i) {
    const float a = first.at[i], b = second.at[i];
    best.value[i] = a > b ? a : b;
    best.winner[i] = a > b ? 0 : 1;
  }
  for (int k = 2; k < x.count; ++k) {
    const auto later = load_pack<T, kSize>(x.at[k] + begin);
#pragma unroll
    for (int i = 0; i < kSize; ++i) {
      const float value = later.at[i];
      if (value > best.value[i]) best.value[i] = value, best.winner[i] = k;
    }
  }
  return best;
}

// y, and each of x: (count).
template <class T>
__global__ void eltwise_max_forward_kernel(PackWalk walk, Arrays<T> x, T* y) {
  for_own_pack<T>(walk, [&](int64_t begin, auto size) {
    constexpr int kSize = size;
    const auto best = best_of<kSize>(x, begin);
    Pack<T, kSize> result;
#pragma unroll
    for (int i = 0; i < kSize; ++i) result.at[i] = best.value[i];
    store_pack(y + begin, result);
  });
}

// y, dy, and each of dx: (count). Under a fused ReLU (kClipped) y decides; otherwise it is not read.
template <bool kClipped, class T>
__global__ void eltwise_sum_backward_kernel(PackWalk walk, const T* y, const T* dy, Weights<> c,
                                            Outputs<T> dx) {
  for_own_pack<T>(walk, [&](int64_t begin, auto size) {
    constexpr int kSize = size;
    const auto gradient = load_pack<T, kSize>(dy + begin);
    const auto sign = load_pack<T, kSize>((kClipped ? y : dy) + begin);
    for (int k = 0; k < dx.count; ++k) {
      if (!dx.at[k]) continue;
      Pack<T, kSize> result;
#pragma unroll
      for (int i = 0; i < kSize; ++i) {
        const bool passes = !kClipped || static_cast<float>(sign.at[i]) > 0;
        result.at[i] = passes ? c.at[k] * gradient.at[i] : 0.0f;
      }
      store_pack(dx.at[k] + begin, result);
    }
  });
}

// dy, and each of x and dx: (count). dx_k = dy times all factors but number k; they are few, and after the
// first time lie in cache.
template <class T>
__global__ void eltwise_prod_backward_kernel(PackWalk walk, Arrays<T> x, const T* dy, Outputs<T> dx) {
  for_own_pack<T>(walk, [&](int64_t begin, auto size) {
    constexpr int kSize = size;
    const auto gradient = load_pack<T, kSize>(dy + begin);
    for (int k = 0; k < x.count; ++k) {
      if (!dx.at[k]) continue;
      float product[kSize];
#pragma unroll
      for (int i = 0; i < kSize; ++i) product[i] = 1.0f;
      for (int j = 0; j < x.count; ++j) {
        if (j == k) continue;
        const auto factor = load_pack<T, kSize>(x.at[j] + begin);
#pragma unroll
        for (int i = 0; i < kSize; ++i) product[i] *= factor.at[i];
      }
      Pack<T, kSize> result;
#pragma unroll
      for (int i = 0; i < kSize; ++i) result.at[i] = product[i] * gradient.at[i];
      store_pack(dx.at[k] + begin, result);
    }
  });
}

// y, dy, and each of x and dx: (count). dx_k = dy y / x_k.
template <class T>
__global__ void eltwise_quotient_backward_kernel(PackWalk walk, Arrays<T> x, const T* y, const T* dy,
                                                 Outputs<T> dx) {
  for_own_pack<T>(walk, [&](int64_t begin, auto size) {
    constexpr int kSize = size;
    const auto product = load_pack<T, kSize>(y + begin), gradient = load_pack<T, kSize>(dy + begin);
    for (int k = 0; k < x.count; ++k) {
      if (!dx.at[k]) continue;
      const auto factor = load_pack<T, kSize>(x.at[k] + begin);
      Pack<T, kSize> result;
#pragma unroll
      for (int i = 0; i < kSize; ++i)
        result.at[i] = static_cast<float>(product.at[i]) / factor.at[i] * gradient.at[i];
      store_pack(dx.at[k] + begin, result);
    }
  });
}

// dy, and each of x and dx: (count).
template <class T>
__global__ void eltwise_max_backward_kernel(PackWalk walk, Arrays<T> x, const T* dy, Outputs<T> dx) {
  for_own_pack<T>(walk, [&](int64_t begin, auto size) {
    constexpr int kSize = size;
    const auto gradient = load_pack<T, kSize>(dy + begin);
    const auto best = best_of<kSize>(x, begin);
    for (int k = 0; k < x.count; ++k) {
      if (!dx.at[k]) continue;
      Pack<T, kSize> result;
#pragma unroll
      for (int i = 0; i < kSize; ++i)
        result.at[i] = best.winner[i] == k ? static_cast<float>(gradient.at[i]) : 0.0f;
      store_pack(dx.at[k] + begin, result);
    }
  });
}

class EltwiseLayer : public CudaLayer {
 public:
  explicit EltwiseLayer(const Args& args)
      : CudaLayer("Eltwise", args),
        operation_(args.text("operation")),
        coeff_(args.reals("coeff")),
        stable_(args.flag("stable_prod_grad")),
        relu_(args.flag("relu")),
        masks_(relu_ && args.flag("relu_backward")) {}

  void reshape(const Blobs& bottom, const Blobs&) override {
    if (operation_ != "SUM" && bottom.size() > kMostArrays)
      throw ShapeError(message("operation ", operation_, " takes at most ", kMostArrays,
                               " bottoms on a GPU, got ", bottom.size(), "; use several layers"));
  }

  void forward(const Context& context, const Blobs& bottom, const Blobs& top) override {
    dispatch(top[0]->dtype(), [&](auto zero) {
      using T = decltype(zero);
      T* y = top[0]->data<T>();
      const int64_t count = top[0]->count();
      if (operation_ == "SUM") {
        std::vector<const T*> x;
        for (const BlobPtr& each : bottom) x.push_back(each->data<T>());
        return weighted_sum(context, "eltwise_sum_forward", x, coeff_, y, count, relu_ ? 0.0f : -INFINITY);
      }
      const Arrays<T> x = inputs<T>(bottom);
      const PackWalk walk = pack_walk<T>(count, x.packable() && packable(y));
      if (operation_ == "PROD")
        launch(context, "eltwise_prod_forward", grid_for<T>(walk), eltwise_prod_forward_kernel<T>, walk, x,
               y);
      if (operation_ == "MAX")
        launch(context, "eltwise_max_forward", grid_for<T>(walk), eltwise_max_forward_kernel<T>, walk, x, y);
    });
  }

  void backward(const Context& context, const Blobs& top, const std::vector<bool>& propagate_down,
                const Blobs& bottom) override {
    dispatch(top[0]->dtype(), [&](auto zero) {
      using T = decltype(zero);
      if (operation_ == "SUM") return sum_backward<T>(context, *top[0], propagate_down, bottom);
      Outputs<T> dx;
      for (size_t i = 0; i < bottom.size(); ++i) dx.add(propagate_down[i] ? bottom[i]->diff<T>() : nullptr);
      select_backward(context, *top[0], inputs<T>(bottom), dx);
    });
  }

 private:
  template <class T>
  static Arrays<T> inputs(const Blobs& bottom) {
    Arrays<T> x;
    for (const BlobPtr& each : bottom) x.add(each->data<T>());
    return x;
  }

  template <class T>
  void sum_backward(const Context& context, Blob& top, const std::vector<bool>& propagate_down,
                    const Blobs& bottom) const {
    const T *y = top.data<T>(), *dy = top.diff<T>();
    for (size_t next = 0; next < bottom.size();) {
      Outputs<T> dx;
      Weights<> c;
      for (; next < bottom.size() && !dx.full(); ++next) {
        if (!propagate_down[next]) continue;
        c.at[dx.count] = coeff_[next];
        dx.add(bottom[next]->diff<T>());
      }
      const PackWalk walk = pack_walk<T>(top.count(), dx.packable() && packable(y, dy));
      launch(context, "eltwise_sum_backward", grid_for<T>(walk),
             masks_ ? eltwise_sum_backward_kernel<true, T> : eltwise_sum_backward_kernel<false, T>, walk, y,
             dy, c, dx);
    }
  }

  template <class T>
  void select_backward(const Context& context, Blob& top, const Arrays<T>& x, const Outputs<T>& dx) const {
    const T *y = top.data<T>(), *dy = top.diff<T>();
    const PackWalk walk = pack_walk<T>(top.count(), x.packable() && dx.packable() && packable(y, dy));
    const Grid grid = grid_for<T>(walk);
    if (operation_ == "MAX")
      launch(context, "eltwise_max_backward", grid, eltwise_max_backward_kernel<T>, walk, x, dy, dx);
    else if (stable_)
      launch(context, "eltwise_prod_backward", grid, eltwise_prod_backward_kernel<T>, walk, x, dy, dx);
    else
      launch(context, "eltwise_quotient_backward", grid, eltwise_quotient_backward_kernel<T>, walk, x, y, dy,
             dx);
  }

  const std::string operation_;     // "SUM", "PROD" or "MAX"
  const std::vector<float> coeff_;  // one for each bottom, only used by SUM
  const bool stable_, relu_, masks_;
};

REGISTER_LAYER("Eltwise", cuda, EltwiseLayer);

}  // namespace
}  // namespace caffe::cuda
