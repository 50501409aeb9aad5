// Division of many numbers by one that is known before the launch: a product and a shift instead of some
// twenty instructions.
//
// T. Granlund, P. L. Montgomery, Division by invariant integers using multiplication, PLDI 1994.
#pragma once

#include <cuda_runtime.h>

#include <bit>
#include <cstdint>

namespace caffe::cuda {

class Divisor {
 public:
  Divisor() = default;
  // 1 <= value < 2^31
  explicit Divisor(uint32_t value)
      : value_(value),
        shift_(static_cast<uint32_t>(std::bit_width(value - 1))),
        factor_(
            static_cast<uint32_t>(((uint64_t{1} << 32) * ((uint64_t{1} << shift_) - value)) / value + 1)) {}

  __host__ __device__ uint32_t value() const { return value_; }
  bool operator==(const Divisor&) const = default;

  // For numbers below 2^31.
  __device__ uint32_t quotient(uint32_t number) const {
    return (__umulhi(number, factor_) + number) >> shift_;
  }
  // Returns the remainder and leaves the quotient in `number`.
  __device__ uint32_t split(uint32_t& number) const {
    const uint32_t whole = quotient(number), rest = number - whole * value_;
    number = whole;
    return rest;
  }

 private:
  uint32_t value_ = 1, shift_ = 0, factor_ = 1;
};

}  // namespace caffe::cuda
