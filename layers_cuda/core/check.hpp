// Turns errors of the CUDA runtime into DeviceError.
#pragma once

#include <cuda_runtime.h>

#include "core/error.hpp"

namespace caffe::cuda {

inline void check(cudaError_t error, const char* what) {
  if (error != cudaSuccess)
    throw DeviceError(message(what, ": ", cudaGetErrorName(error), ", ", cudaGetErrorString(error)));
}

}  // namespace caffe::cuda

#define CAFFE_CUDA(call) ::caffe::cuda::check(call, #call)
