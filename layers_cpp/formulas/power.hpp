// Power: y = (shift + scale x)^power.
//
// Gradient: dx = dy power scale (shift + scale x)^(power - 1), at a base of 0 as well. Where power or scale
// is 0, y is a constant. A base below 0 to a power that is not whole is NaN.
#pragma once

#include <cmath>
#include <limits>

#include "formulas/formula.hpp"
#include "math/vector_math.hpp"

namespace caffe {

// y = shift^power
struct ConstantPower {
  explicit ConstantPower(const Args& args) : value(std::pow(args.real("shift"), args.real("power"))) {
    if (args.real("power") == 0) value = 1;  // whatever the base, as std::pow has it
  }
  static bool fits(const Args& args) { return args.real("power") == 0 || args.real("scale") == 0; }

  static constexpr int cost = 1;
  static constexpr Operand reads = Operand::none;
  CAFFE_HOST_DEVICE float forward(float) const { return value; }
  CAFFE_HOST_DEVICE float backward(float, float) const { return 0.0f; }

  float value;
};

// y = shift + scale x
struct FirstPower {
  explicit FirstPower(const Args& args) : scale(args.real("scale")), shift(args.real("shift")) {}
  static bool fits(const Args& args) { return args.real("power") == 1; }

  static constexpr int cost = 1;
  static constexpr Operand reads = Operand::none;
  CAFFE_HOST_DEVICE float forward(float x) const { return scale * x + shift; }
  CAFFE_HOST_DEVICE float backward(float, float dy) const { return scale * dy; }

  float scale, shift;
};

// y = (shift + scale x)^2
struct SecondPower {
  explicit SecondPower(const Args& args) : scale(args.real("scale")), shift(args.real("shift")) {}
  static bool fits(const Args& args) { return args.real("power") == 2; }

  static constexpr int cost = 1;
  static constexpr Operand reads = Operand::x;
  CAFFE_HOST_DEVICE float forward(float x) const {
    const float base = scale * x + shift;
    return base * base;
  }
  CAFFE_HOST_DEVICE float backward(float x, float dy) const {
    return 2.0f * scale * (scale * x + shift) * dy;
  }

  float scale, shift;
};

struct Power {
  explicit Power(const Args& args)
      : power(args.real("power")), scale(args.real("scale")), shift(args.real("shift")) {
    const bool whole = std::trunc(power) == power, odd = std::fmod(power, 2.0f) != 0;
    sign = !whole ? std::numeric_limits<float>::quiet_NaN() : (odd ? -1.0f : 1.0f);
  }

  static constexpr int cost = 8;
  static constexpr Operand reads = Operand::x;
  CAFFE_HOST_DEVICE float forward(float x) const {
    const float base = scale * x + shift, y = vector_power(base < 0 ? -base : base, power);
    return base < 0 ? sign * y : y;
  }
  CAFFE_HOST_DEVICE float backward(float x, float dy) const {
    const float base = scale * x + shift, slope = vector_power(base < 0 ? -base : base, power - 1.0f);
    return dy * (power * scale * (base < 0 ? -sign * slope : slope));
  }

  float power, scale, shift;
  float sign;  // of a power of a number below 0: that of a whole power, or NaN
};

}  // namespace caffe
