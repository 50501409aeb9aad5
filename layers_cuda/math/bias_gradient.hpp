// The first thing in backward of a layer y = W x + b, with or without a ReLU that was fused into it.
#pragma once

#include "core/scratch.hpp"
#include "math/coefficient_sums.hpp"
#include "math/elementwise.hpp"

namespace caffe::cuda {

struct ReLUMask {
  __device__ float operator()(float y, float dy) const { return y > 0 ? dy : 0.0f; }
};

// Sums of dy.
template <class T>
struct BiasTerms {
  using Value = T;
  static constexpr int kInputs = 1, kSums = 1;
  struct Channel {};

  __device__ Channel channel(int) const { return {}; }
  __device__ void add(const Channel&, const float (&dy)[1], float (&sums)[1]) const { sums[0] += dy[0]; }

  const T* in[kInputs];
};

// Sums of dy behind the ReLU, which is kept in its place.
template <class T>
struct MaskedBiasTerms {
  using Value = T;
  static constexpr int kInputs = 2, kSums = 1;
  struct Channel {};

  __device__ Channel channel(int) const { return {}; }
  __device__ float stored(const Channel&, const float (&values)[2]) const {
    return ReLUMask()(values[0], values[1]);
  }
  __device__ void add(const Channel& channel, const float (&values)[2], float (&sums)[1]) const {
    sums[0] += stored(channel, values);
  }

  const T* in[kInputs];  // y, dy
  T* out[1];             // dy
};

// A gradient that was masked elsewhere gives the same bits.
static_assert(kSumInFlight<BiasTerms<float>> == kSumInFlight<MaskedBiasTerms<float>>);

struct FinishBias {
  __device__ void operator()(int k, const double (&sums)[1]) const {
    gradient[k] = (add ? gradient[k] : 0.0f) + static_cast<float>(sums[0]);
  }

  float* gradient;
  bool add;
};

// Planned for a top of (rows, columns).
class BiasGradient {
 public:
  void create(int64_t rows, int64_t columns, DType dtype) {
    spread_ = columns == 1 ? Spread{1, 1, rows, 1} : Spread{rows, 1, 1, columns};
    partials_bytes_ = dispatch(dtype, [&](auto zero) {
      using T = decltype(zero);
      return std::max(partials_bytes<BiasTerms<T>>(spread_), partials_bytes<MaskedBiasTerms<T>>(spread_));
    });
  }

  // With `masks`, dy = 0 where y <= 0, in place; then db += column sums of dy, unless `bias` is null.
  void run(const Context& context, Blob& top, bool masks, Blob* bias) const {
    dispatch(top.dtype(), [&](auto zero) {
      using T = decltype(zero);
      const T* y = masks ? top.data<T>() : nullptr;
      T* dy = top.diff<T>();
      if (!bias)
        mask(context, y, dy, top.count());
      else if (y)
        add_up(context, MaskedBiasTerms<T>{{y, dy}, {dy}}, *bias);
      else
        add_up(context, BiasTerms<T>{{dy}}, *bias);
    });
  }

  // db += column sums of dy (rows, columns); scratch is used from `used` bytes on.
  template <class T>
  void sum(const Context& context, size_t used, const T* dy, Blob& bias) const {
    add_up(context, BiasTerms<T>{{dy}}, bias, used);
  }

  size_t scratch_bytes() const { return scratch_size(partials_bytes_); }

 private:
  template <class T>
  static void mask(const Context& context, const T* y, T* dy, int64_t count) {
    if (y) elementwise(context, "mask_by_relu", ReLUMask(), count, dy, y, static_cast<const T*>(dy));
  }

  template <class Terms>
  void add_up(const Context& context, const Terms& terms, Blob& bias, size_t used = 0) const {
    Scratch scratch(context, used);
    Storage& gradient = bias.diff_storage();
    const bool more = !gradient.zero();
    auto* sums = static_cast<float*>(more ? gradient.data() : gradient.overwrite());
    coefficient_sums(context, "bias_gradient", spread_, terms, FinishBias{sums, more},
                     scratch.take<float>(partials_bytes_));
  }

  Spread spread_{};
  size_t partials_bytes_ = 0;
};

}  // namespace caffe::cuda
