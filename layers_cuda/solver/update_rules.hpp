// The rules of solvers as kernels compute them, and the numbers they take; as in
// layers_cpp/solver/update.cpp.
#pragma once

#include <cstdint>

namespace caffe::cuda {

// UpdateSettings as kernels read them.
struct Numbers {
  float rate, momentum, momentum2, rms_decay, delta, weight_decay, adam_correction;
  int32_t l1;
  double gradient_scale;
  double clip_gradients;
};

__device__ inline float sign(float value) { return static_cast<float>((value > 0) - (value < 0)); }

// The rules: change of a weight from its gradient, which is scaled and regularised already, and its history.

struct SGD {
  static constexpr bool two_histories = false;
  __device__ static float change(const Numbers& s, float rate, float gradient, float& history, float&) {
    return history = s.momentum * history + rate * gradient;
  }
};

struct Nesterov {
  static constexpr bool two_histories = false;
  __device__ static float change(const Numbers& s, float rate, float gradient, float& history, float&) {
    const float before = history;
    history = s.momentum * before + rate * gradient;
    return (1 + s.momentum) * history - s.momentum * before;
  }
};

struct AdaGrad {
  static constexpr bool two_histories = false;
  __device__ static float change(const Numbers& s, float rate, float gradient, float& history, float&) {
    history += gradient * gradient;
    return rate * gradient / (sqrtf(history) + s.delta);
  }
};

struct RMSProp {
  static constexpr bool two_histories = false;
  __device__ static float change(const Numbers& s, float rate, float gradient, float& history, float&) {
    history = s.rms_decay * history + (1 - s.rms_decay) * gradient * gradient;
    return rate * gradient / (sqrtf(history) + s.delta);
  }
};

struct AdaDelta {
  static constexpr bool two_histories = true;
  __device__ static float change(const Numbers& s, float rate, float gradient, float& squares,
                                 float& updates) {
    squares = s.momentum * squares + (1 - s.momentum) * gradient * gradient;
    const float step = gradient * sqrtf((updates + s.delta) / (squares + s.delta));
    updates = s.momentum * updates + (1 - s.momentum) * step * step;
    return rate * step;
  }
};

struct Adam {
  static constexpr bool two_histories = true;
  __device__ static float change(const Numbers& s, float rate, float gradient, float& mean, float& variance) {
    mean = s.momentum * mean + (1 - s.momentum) * gradient;
    variance = s.momentum2 * variance + (1 - s.momentum2) * gradient * gradient;
    return rate * s.adam_correction * mean / (sqrtf(variance) + s.delta);
  }
};

}  // namespace caffe::cuda
