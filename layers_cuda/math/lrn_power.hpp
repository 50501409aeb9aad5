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
    const float root = rsqrtf(s);
    return {root * sqrtf(root), root * root};
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
