// What LRN makes of the sum over a window; formulas as in layers_cpp/layers/lrn.cpp.
#pragma once

#include <cuda_runtime.h>

namespace caffe::cuda::lrn {

struct Normalization {
  int reach;          // (n - 1) / 2
  float alpha, beta;  // alpha already divided by m
  float k;

  __device__ float scale(float sum) const { return k + alpha * sum; }
  __device__ float weight() const { return 2.0f * alpha * beta; }
};

// Roots by one instruction each, whose relative error is below 2^-22; numbers below FLT_MIN count as 0.
__device__ inline float fast_root(float x) {
#ifdef __CUDA_ARCH__
  asm("sqrt.approx.ftz.f32 %0, %0;" : "+f"(x));
  return x;
#else
  return sqrtf(x);
#endif
}
__device__ inline float fast_inverse_root(float x) {
#ifdef __CUDA_ARCH__
  asm("rsqrt.approx.ftz.f32 %0, %0;" : "+f"(x));
  return x;
#else
  return rsqrtf(x);
#endif
}

// s^(-beta) and 1 / s, in general and for the beta that most nets use, which needs no logarithm.
struct Powers {
  float factor, inverse;
};
struct AnyPower {
  float beta;
  __device__ Powers operator()(float s) const { return {powf(s, -beta), 1.0f / s}; }
};
struct ThreeQuarters {
  __device__ Powers operator()(float s) const {
    const float root = fast_inverse_root(s);
    return {root * fast_root(root), root * root};
  }
};

template <class Body>
void with_power(float beta, Body&& body) {
  if (beta == 0.75f)
    body(ThreeQuarters{});
  else
    body(AnyPower{beta});
}

}  // namespace caffe::cuda::lrn
