// The state that all functions of the runtime share a lock for, and the last error of each thread.
#pragma once

#include <mutex>
#include <string>

#include "cuda_runtime_api.h"

namespace caffe::emulation {

// Held by every function of the runtime.
struct Lock {
  Lock();
  ~Lock();
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;
};

// Remembers an error as the thread's last one, and returns it.
cudaError_t report(cudaError_t error);

// What cudaGetErrorString says of the next cudaErrorLaunchFailure.
void describe_failure(const std::string& what);

}  // namespace caffe::emulation
