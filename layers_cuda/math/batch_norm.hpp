// What BatchNorm computes for each value and for each channel; layers/batch_norm.cu says in which order.
#pragma once

#include "math/coefficient_map.hpp"
#include "math/coefficient_sums.hpp"

namespace caffe::cuda::batch_norm {

// Of the last forward, (C) each: xhat = (x - mean) inverse, y = scale xhat + shift.
struct Statistics {
  float *mean, *inverse, *scale, *shift;

  __device__ void set(int c, double mu, double variance, float eps, const float* s, const float* t) const {
    mean[c] = static_cast<float>(mu);
    inverse[c] = static_cast<float>(1.0 / sqrt(variance + static_cast<double>(eps)));
    scale[c] = s ? s[c] : 1.0f;
    shift[c] = t ? t[c] : 0.0f;
  }
};

// The learned blobs; scale and shift are null where there are none.
struct Learned {
  float *mean, *variance, *factor;
  const float *scale, *shift;
};

// Shifting by each channel's first value keeps the sum of squares small beside a large mean.
template <class T>
struct Moments {
  using Value = T;
  static constexpr int kInputs = 1, kSums = 2;
  struct Channel {
    float origin;
  };

  __device__ Channel channel(int c) const { return {in[0][c * inner]}; }
  __device__ void add(const Channel& channel, const float (&x)[1], float (&sums)[2]) const {
    const float value = x[0] - channel.origin;
    sums[0] += value;
    sums[1] += value * value;
  }

  const T* in[kInputs];
  int64_t inner;  // values from the first one of a channel to that of the next
};

// Sets the statistics of the batch and counts them into the stored ones.
template <class T>
struct FinishMoments {
  __device__ void operator()(int c, const double (&sums)[2]) const {
    const double mu = static_cast<double>(moments.channel(c).origin) + sums[0] / items;
    const double variance = fmax(0.0, (sums[1] - sums[0] * sums[0] / items) / items);
    statistics.set(c, mu, variance, eps, learned.scale, learned.shift);
    learned.mean[c] = fraction * learned.mean[c] + static_cast<float>(mu);
    learned.variance[c] = fraction * learned.variance[c] + unbiased * static_cast<float>(variance);
    if (c == 0) *learned.factor = fraction * *learned.factor + 1;
  }

  Moments<T> moments;
  Learned learned;
  Statistics statistics;
  double items;  // of a channel
  float fraction, eps, unbiased;
};

// y = scale xhat + shift, and maybe the addend, then the ReLU; kKeep: xhat is the second result.
template <class T, bool kKeep, bool kAdd>
struct Normalise {
  using Value = T;
  static constexpr int kInputs = kAdd ? 2 : 1, kOutputs = kKeep ? 2 : 1;
  struct Channel {
    float mean, inverse, scale, shift;
  };

  // Without xhat as a result, scale and inverse are one factor.
  __device__ Channel channel(int c) const {
    const float inverse = statistics.inverse[c], scale = statistics.scale[c], shift = statistics.shift[c];
    return {statistics.mean[c], kKeep ? inverse : 1.0f, kKeep ? scale : scale * inverse, shift};
  }
  __device__ void apply(const Channel& channel, const float (&x)[kInputs], float (&y)[kOutputs]) const {
    float xhat = x[0] - channel.mean;
    if (kKeep) xhat *= channel.inverse;
    float value = channel.scale * xhat + channel.shift;
    if (kAdd) value += x[kInputs - 1];
    y[0] = value < floor ? floor : value;
    if (kKeep) y[kOutputs - 1] = xhat;
  }

  const T* in[kInputs];  // x, addend
  T* out[kOutputs];      // y, xhat
  Statistics statistics;
  float floor;
};

// What a fused ReLU does to the gradient: nothing, or it passes where its own bottom, made again from x, or
// its top is positive.
enum class Mask { none, of_x, of_y };

// What backward knows of a channel: its value before the ReLU is (x - mean) factor + shift, up to a positive
// factor. Where forward kept xhat, that is x here.
struct Rebuilt {
  float mean, factor, shift;

  template <Mask kMask, int kInputs>
  __device__ float gradient(const float (&values)[kInputs]) const {
    if constexpr (kMask == Mask::of_x) return factor * (values[0] - mean) + shift > 0 ? values[1] : 0.0f;
    if constexpr (kMask == Mask::of_y) return values[2] > 0 ? values[1] : 0.0f;
    return values[1];
  }
};

__device__ inline Rebuilt rebuild(const Statistics& statistics, bool kept, int c) {
  const float inverse = statistics.inverse[c], scale = statistics.scale[c], shift = statistics.shift[c];
  if (kept) return {0, scale * inverse, shift * inverse};
  return {statistics.mean[c], scale * inverse, shift};
}

// Sums of dy and of dy (x - mean), dy behind the ReLU.
template <class T, Mask kMask>
struct Gradients {
  using Value = T;
  using Channel = Rebuilt;
  static constexpr int kInputs = kMask == Mask::of_y ? 3 : 2, kSums = 2;

  __device__ Channel channel(int c) const { return rebuild(statistics, kept, c); }
  __device__ void add(const Channel& channel, const float (&values)[kInputs], float (&sums)[2]) const {
    const float gradient = channel.template gradient<kMask>(values);
    sums[0] += gradient;
    sums[1] += gradient * (values[0] - channel.mean);
  }

  const T* in[kInputs];  // x or the kept xhat, dy, y
  Statistics statistics;
  bool kept;
};

// The same, and keeps that dy, which is the gradient of the addend.
template <class T, Mask kMask>
struct PassingGradients : Gradients<T, kMask> {
  using Base = Gradients<T, kMask>;

  __device__ float stored(const Rebuilt& channel, const float (&values)[Base::kInputs]) const {
    return channel.template gradient<kMask>(values);
  }

  T* out[1];
};

struct FinishGradients {
  __device__ void operator()(int c, const double (&sums)[2]) const {
    const double rate = kept ? 1.0 : static_cast<double>(statistics.inverse[c]);
    const double product = sums[1] * rate;  // sum of dy xhat
    if (dscale) dscale[c] = (add_scale ? dscale[c] : 0.0f) + static_cast<float>(product);
    if (dshift) dshift[c] = (add_shift ? dshift[c] : 0.0f) + static_cast<float>(sums[0]);
    mean_dy[c] = batch ? static_cast<float>(sums[0] / items) : 0.0f;
    slope[c] = batch ? static_cast<float>(product / items * rate) : 0.0f;
  }

  Statistics statistics;
  bool kept, batch;
  double items;
  float *mean_dy, *slope;  // (C); slope = mean(dy xhat) dxhat/dx
  float *dscale, *dshift;  // (C), or null where they are not wanted
  bool add_scale, add_shift;
};

// dx = s / sqrt(v + eps) (dy - mean(dy) - xhat mean(dy xhat)), dy behind the ReLU
template <class T, Mask kMask>
struct Differentiate : Gradients<T, kMask> {
  using Base = Gradients<T, kMask>;
  static constexpr int kOutputs = 1;
  struct Channel {
    Rebuilt rebuilt;
    float mean_dy, slope;
  };

  __device__ Channel channel(int c) const { return {Base::channel(c), mean_dy[c], slope[c]}; }
  __device__ void apply(const Channel& channel, const float (&values)[Base::kInputs], float (&dx)[1]) const {
    const float gradient = channel.rebuilt.template gradient<kMask>(values);
    const float centred = values[0] - channel.rebuilt.mean;
    dx[0] = channel.rebuilt.factor * (gradient - channel.mean_dy - centred * channel.slope);
  }

  T* out[kOutputs];
  const float *mean_dy, *slope;  // as FinishGradients leaves them
};

}  // namespace caffe::cuda::batch_norm
