// The rules of solvers, for both devices: how a weight changes, from its gradient, which is scaled and
// regularised already, and its history. A new rule is a struct here, named in Rules, and a class in
// pycaffe_like/solver/types.py. Symbols as in Caffe's solver documentation.
#pragma once

#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <tuple>

#include "core/dtype.hpp"

namespace caffe::rules {

// UpdateSettings as the rules read them, also on the GPU.
struct Numbers {
  float rate, momentum, momentum2, rms_decay, delta, weight_decay, adam_correction;
  int32_t l1;
  double gradient_scale;
  double clip_gradients;
};

struct SGD {
  static constexpr const char* name = "SGD";
  static constexpr bool two_histories = false;
  CAFFE_HOST_DEVICE static float change(const Numbers& s, float rate, float gradient, float& history,
                                        float&) {
    return history = s.momentum * history + rate * gradient;
  }
};

struct Nesterov {
  static constexpr const char* name = "Nesterov";
  static constexpr bool two_histories = false;
  CAFFE_HOST_DEVICE static float change(const Numbers& s, float rate, float gradient, float& history,
                                        float&) {
    const float before = history;
    history = s.momentum * before + rate * gradient;
    return (1 + s.momentum) * history - s.momentum * before;
  }
};

struct AdaGrad {
  static constexpr const char* name = "AdaGrad";
  static constexpr bool two_histories = false;
  CAFFE_HOST_DEVICE static float change(const Numbers& s, float rate, float gradient, float& history,
                                        float&) {
    history += gradient * gradient;
    return rate * gradient / (sqrtf(history) + s.delta);
  }
};

struct RMSProp {
  static constexpr const char* name = "RMSProp";
  static constexpr bool two_histories = false;
  CAFFE_HOST_DEVICE static float change(const Numbers& s, float rate, float gradient, float& history,
                                        float&) {
    history = s.rms_decay * history + (1 - s.rms_decay) * gradient * gradient;
    return rate * gradient / (sqrtf(history) + s.delta);
  }
};

struct AdaDelta {
  static constexpr const char* name = "AdaDelta";
  static constexpr bool two_histories = true;
  CAFFE_HOST_DEVICE static float change(const Numbers& s, float rate, float gradient, float& squares,
                                        float& updates) {
    squares = s.momentum * squares + (1 - s.momentum) * gradient * gradient;
    const float step = gradient * sqrtf((updates + s.delta) / (squares + s.delta));
    updates = s.momentum * updates + (1 - s.momentum) * step * step;
    return rate * step;
  }
};

struct Adam {
  static constexpr const char* name = "Adam";
  static constexpr bool two_histories = true;
  CAFFE_HOST_DEVICE static float change(const Numbers& s, float rate, float gradient, float& mean,
                                        float& variance) {
    mean = s.momentum * mean + (1 - s.momentum) * gradient;
    variance = s.momentum2 * variance + (1 - s.momentum2) * gradient * gradient;
    return rate * s.adam_correction * mean / (sqrtf(variance) + s.delta);
  }
};

using Rules = std::tuple<AdaDelta, AdaGrad, Adam, Nesterov, RMSProp, SGD>;

// Calls body(Rule{}) for every rule.
template <class Body>
void for_each_rule(Body&& body) {
  std::apply([&](auto... rule) { (body(rule), ...); }, Rules{});
}

// The result of make(Rule{}) for the rule of this name.
template <class Make>
auto of_rule(const std::string& name, Make&& make) {
  decltype(make(SGD{})) made{};
  bool found = false;
  for_each_rule([&](auto rule) {
    if (name != rule.name) return;
    made = make(rule);
    found = true;
  });
  if (!found) throw std::out_of_range("there is no rule " + name);
  return made;
}

}  // namespace caffe::rules
