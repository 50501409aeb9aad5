// BatchNorm: normalises each channel to mean 0 and variance 1 over all items and positions.
//
//   xhat = (x - mu) / sqrt(v + eps),  y = xhat, or s xhat + t with scale_bias, then max(., 0) with a fused
//   ReLU dx = s / sqrt(v + eps) * (dy - mean(dy) - xhat mean(dy xhat)) over a batch; s / sqrt(v + eps) * dy
//   with global statistics ds += sum(dy xhat), dt += sum(dy)
//
// mu, v: of the batch (v biased), or the stored sums divided by the stored factor. Every forward over a batch
// updates the stored ones: factor = f factor + 1, mean = f mean + mu, variance = f variance + v m / (m - 1),
// m items a channel. Learned blobs: mean (C), variance (C), factor (1), and with scale_bias s (C), t (C).
//
// Channels-last memory is a matrix of rows by C channels, which the kernels stream over once for the
// statistics and once for the result. Other shapes are planes of `inner` values a channel. In place, xhat is
// kept for backward. The argument `addend`, a second bottom to add before the ReLU, is for the GPU only.
#include <algorithm>
#include <cmath>

#include "core/parallel.hpp"
#include "core/registry.hpp"

namespace caffe {
namespace {

// Sums are taken in float over this many values, then in double: exact enough for any batch, and still
// vectorised.
constexpr int64_t kBlock = 256;
// Rows of so few channels are added up kRows at a time, with the sums in registers. Of wider rows those would
// be too many places to read from at once: slower from memory.
constexpr int64_t kNarrow = 64;
constexpr int kRows = 4;

// Where the values of a channel lie: `outer` times `inner` consecutive ones.
struct Extent {
  int64_t outer, channels, inner;
  int64_t items() const { return outer * inner; }
};

// Adds the terms of rows [row, row + kCount).
template <int kCount, class Terms>
void add_rows(int64_t row, int64_t channels, float* first, float* second, Terms&& terms) {
#pragma omp simd
  for (int64_t c = 0; c < channels; ++c) {
    float sum = first[c], other = second[c];
#pragma GCC unroll 4  // or the loop over c would not be vectorised
    for (int r = 0; r < kCount; ++r) terms(c, (row + r) * channels + c, sum, other);
    first[c] = sum;
    second[c] = other;
  }
}

// Adds up term(c, i) and other(c, i), i counting values in memory, over all items of each channel. `sums`
// gets 2 * C doubles; `partials` has room for that for each thread.
template <class Terms>
void channel_sums(const Extent& extent, double* sums, double* partials, Terms&& terms) {
  const int64_t channels = extent.channels;
  std::fill_n(partials, 2 * channels * max_threads(), 0.0);
  if (extent.inner == 1) {
    parallel_for(extent.outer, std::max<int64_t>(1, kElementwiseGrain / channels),
                 [&](int64_t begin, int64_t end, int thread) {
                   double* mine = partials + 2 * channels * thread;
                   std::vector<float> block(2 * channels);
                   float *first = block.data(), *second = first + channels;
                   for (int64_t row = begin; row < end; row += kBlock) {
                     std::fill(block.begin(), block.end(), 0.0f);
                     const int64_t stop = std::min(end, row + kBlock);
                     int64_t r = row;
                     for (; channels <= kNarrow && r + kRows <= stop; r += kRows)
                       add_rows<kRows>(r, channels, first, second, terms);
                     for (; r < stop; ++r) add_rows<1>(r, channels, first, second, terms);
                     for (int64_t c = 0; c < 2 * channels; ++c) mine[c] += block[c];
                   }
                 });
  } else {
    parallel_for(channels, std::max<int64_t>(1, kElementwiseGrain / extent.items()),
                 [&](int64_t begin, int64_t end, int) {
                   for (int64_t c = begin; c < end; ++c)
                     for (int64_t o = 0; o < extent.outer; ++o) {
                       const int64_t plane = (o * channels + c) * extent.inner;
                       for (int64_t i = 0; i < extent.inner; i += kBlock) {
                         float first = 0, second = 0;
                         const int64_t stop = std::min(extent.inner, i + kBlock);
                         for (int64_t k = i; k < stop; ++k) terms(c, plane + k, first, second);
                         partials[c] += first;
                         partials[channels + c] += second;
                       }
                     }
                 });
  }
  std::fill_n(sums, 2 * channels, 0.0);
  for (int thread = 0; thread < max_threads(); ++thread)
    for (int64_t c = 0; c < 2 * channels; ++c) sums[c] += partials[2 * channels * thread + c];
}

// Calls body(c, i) for every value.
template <class Body>
void each_value(const Extent& extent, Body&& body) {
  const int64_t channels = extent.channels, inner = extent.inner;
  if (inner == 1) {
    parallel_for(extent.outer, std::max<int64_t>(1, kElementwiseGrain / channels),
                 [&](int64_t begin, int64_t end, int) {
                   for (int64_t row = begin; row < end; ++row) {
#pragma omp simd
                     for (int64_t c = 0; c < channels; ++c) body(c, row * channels + c);
                   }
                 });
  } else {
    parallel_for(extent.outer * channels, std::max<int64_t>(1, kElementwiseGrain / inner),
                 [&](int64_t begin, int64_t end, int) {
                   for (int64_t plane = begin; plane < end; ++plane) {
                     const int64_t c = plane % channels;
#pragma omp simd
                     for (int64_t i = plane * inner; i < (plane + 1) * inner; ++i) body(c, i);
                   }
                 });
  }
}

class BatchNormLayer : public Layer {
 public:
  explicit BatchNormLayer(const Args& args)
      : global_(args.flag("use_global_stats")),
        affine_(args.flag("scale_bias")),
        relu_(args.flag("relu")),
        fraction_(args.real("moving_average_fraction")),
        eps_(args.real("eps")) {}

  std::vector<Shape> top_shapes(const std::vector<Shape>& bottoms) const override { return {bottoms[0]}; }

  std::vector<Shape> param_shapes(const std::vector<Shape>& bottoms) const override {
    const Shape channels{bottoms[0].size() > 1 ? bottoms[0][1] : 1};
    std::vector<Shape> shapes{channels, channels, {1}};
    if (affine_) shapes.insert(shapes.end(), {channels, channels});
    return shapes;
  }

  void reshape(const Blobs& bottom, const Blobs& top) override {
    const Blob& x = *bottom[0];
    const int64_t channels = params[0]->count();
    const bool last = x.layout() == Layout::channels_last || x.axes() <= 2;
    const int64_t items = channels ? x.count() / channels : 0;
    const int64_t outer = last ? items : x.dim(0);
    extent_ = {outer, channels, outer ? items / outer : 0};
    keeps_ = bottom[0] == top[0] && runs_backward;
    const size_t size = static_cast<size_t>(channels);
    statistics_.reserve(4 * size * sizeof(float));
    sums_.reserve(2 * size * (1 + static_cast<size_t>(max_threads())) * sizeof(double));
    if (keeps_) normalised_.reserve(x.bytes());
  }

  void forward(const Context& context, const Blobs& bottom, const Blobs& top) override {
    if (extent_.items() == 0) return;
    dispatch(bottom[0]->dtype(), [&](auto zero) {
      using T = decltype(zero);
      if (global_)
        use_stored_statistics();
      else
        use_batch_statistics(bottom[0]->data<T>());
    });
    recompute(context, bottom, top);
  }

  // With the statistics of the last forward, which are not counted into the stored ones again.
  void recompute(const Context&, const Blobs& bottom, const Blobs& top) override {
    if (extent_.items() == 0) return;
    dispatch(bottom[0]->dtype(), [&](auto zero) {
      using T = decltype(zero);
      normalise(bottom[0]->data<T>(), top[0]->data<T>(),
                keeps_ ? static_cast<T*>(normalised_.data()) : nullptr);
    });
  }

  void backward(const Context&, const Blobs& top, const std::vector<bool>& propagate_down,
                const Blobs& bottom) override {
    if (extent_.items() == 0) return;
    dispatch(bottom[0]->dtype(), [&](auto zero) {
      using T = decltype(zero);
      const T* x = keeps_ ? static_cast<const T*>(normalised_.data()) : bottom[0]->data<T>();
      const T* dy = top[0]->diff<T>();
      T* dx = propagate_down[0] ? bottom[0]->diff<T>() : nullptr;
      // The choices are made at compile time, so that the loops stay free of them and vectorise.
      if (keeps_)
        relu_ ? differentiate<true, true>(x, dy, dx) : differentiate<true, false>(x, dy, dx);
      else
        relu_ ? differentiate<false, true>(x, dy, dx) : differentiate<false, false>(x, dy, dx);
    });
  }

  size_t private_bytes(bool) const override {
    return statistics_.bytes() + sums_.bytes() + normalised_.bytes();
  }

 private:
  float* mean() { return static_cast<float*>(statistics_.data()); }
  float* inverse_deviation() { return mean() + extent_.channels; }
  float* scale() { return mean() + 2 * extent_.channels; }  // s, or 1
  float* shift() { return mean() + 3 * extent_.channels; }  // t, or 0
  double* sums() { return static_cast<double*>(sums_.data()); }

  void set_statistics(int64_t c, double mu, double variance) {
    mean()[c] = static_cast<float>(mu);
    inverse_deviation()[c] = static_cast<float>(1.0 / std::sqrt(variance + eps_));
    scale()[c] = affine_ ? params[3]->data()[c] : 1.0f;
    shift()[c] = affine_ ? params[4]->data()[c] : 0.0f;
  }

  void use_stored_statistics() {
    const float factor = params[2]->data()[0], inverse = factor == 0 ? 0 : 1 / factor;
    for (int64_t c = 0; c < extent_.channels; ++c)
      set_statistics(c, inverse * params[0]->data()[c], inverse * params[1]->data()[c]);
  }

  // Shifting by each channel's first value keeps the sum of squares small beside a large mean.
  template <class T>
  void use_batch_statistics(const T* x) {
    const int64_t channels = extent_.channels, inner = extent_.inner;
    std::vector<float> origin(channels);
    for (int64_t c = 0; c < channels; ++c) origin[c] = x[c * inner];
    const float* shifted_by = origin.data();
    channel_sums(extent_, sums(), sums() + 2 * channels,
                 [=](int64_t c, int64_t i, float& sum, float& squares) {
                   const float value = static_cast<float>(x[i]) - shifted_by[c];
                   sum += value;
                   squares += value * value;
                 });
    const double items = static_cast<double>(extent_.items());
    const float unbiased = extent_.items() > 1 ? static_cast<float>(items / (items - 1)) : 1.0f;
    params[2]->data()[0] = fraction_ * params[2]->data()[0] + 1;
    for (int64_t c = 0; c < channels; ++c) {
      const double sum = sums()[c], squares = sums()[channels + c];
      const double mu = origin[c] + sum / items;
      const double variance = std::max(0.0, (squares - sum * sum / items) / items);
      set_statistics(c, mu, variance);
      float &stored_mean = params[0]->data()[c], &stored_variance = params[1]->data()[c];
      stored_mean = fraction_ * stored_mean + static_cast<float>(mu);
      stored_variance = fraction_ * stored_variance + unbiased * static_cast<float>(variance);
    }
    // Another net that shares the statistics may have folded them into weights.
    for (size_t i = 0; i < 3; ++i) params[i]->data_storage().touch();
  }

  template <class T>
  void normalise(const T* x, T* y, T* keep) {
    const float *mu = mean(), *inverse = inverse_deviation(), *s = scale(), *t = shift();
    const float floor = relu_ ? 0.0f : -INFINITY;
    if (keep) {
      each_value(extent_, [=](int64_t c, int64_t i) {
        const float xhat = (static_cast<float>(x[i]) - mu[c]) * inverse[c];
        keep[i] = xhat;
        const float value = s[c] * xhat + t[c];
        y[i] = value < floor ? floor : value;
      });
    } else {
      each_value(extent_, [=](int64_t c, int64_t i) {
        const float value = s[c] * ((static_cast<float>(x[i]) - mu[c]) * inverse[c]) + t[c];
        y[i] = value < floor ? floor : value;
      });
    }
  }

  // kKept: x is xhat already. The ReLU's mask is computed again from x, which is cheaper than reading y.
  template <bool kKept, bool kRelu, class T>
  void differentiate(const T* x, const T* dy, T* dx) {
    const int64_t channels = extent_.channels;
    const float *mu = mean(), *inverse = inverse_deviation(), *s = scale(), *t = shift();
    const auto xhat_at = [=](int64_t c, int64_t i) {
      const float value = static_cast<float>(x[i]);
      return kKept ? value : (value - mu[c]) * inverse[c];
    };
    const auto gradient_at = [=](int64_t c, int64_t i, float xhat) {
      const float gradient = static_cast<float>(dy[i]);
      return !kRelu || s[c] * xhat + t[c] > 0 ? gradient : 0.0f;
    };
    const bool learn = affine_ && (param_propagate_down[3] || param_propagate_down[4]);
    if (!global_ || learn) {
      channel_sums(extent_, sums(), sums() + 2 * channels,
                   [=](int64_t c, int64_t i, float& sum, float& product) {
                     const float xhat = xhat_at(c, i), gradient = gradient_at(c, i, xhat);
                     sum += gradient;
                     product += gradient * xhat;
                   });
      if (learn) add_param_gradients();
    }
    if (!dx) return;
    std::vector<float> means(2 * channels, 0.0f);
    if (!global_)
      for (int64_t c = 0; c < 2 * channels; ++c)
        means[c] = static_cast<float>(sums()[c] / static_cast<double>(extent_.items()));
    const float *mean_dy = means.data(), *mean_product = mean_dy + channels;
    each_value(extent_, [=](int64_t c, int64_t i) {
      const float xhat = xhat_at(c, i);
      dx[i] = s[c] * inverse[c] * (gradient_at(c, i, xhat) - mean_dy[c] - xhat * mean_product[c]);
    });
  }

  void add_param_gradients() {
    for (int64_t c = 0; c < extent_.channels; ++c) {
      if (param_propagate_down[3]) params[3]->diff()[c] += static_cast<float>(sums()[extent_.channels + c]);
      if (param_propagate_down[4]) params[4]->diff()[c] += static_cast<float>(sums()[c]);
    }
  }

  const bool global_, affine_, relu_;
  const float fraction_, eps_;
  bool keeps_ = false;  // in place, backward needs a copy of xhat
  Extent extent_{};
  Storage statistics_, sums_, normalised_;
};

REGISTER_LAYER("BatchNorm", cpu, BatchNormLayer);

}  // namespace
}  // namespace caffe
