// Runs the threads of a kernel, block after block.
#pragma once

#include <functional>
#include <stdexcept>
#include <string>

#include "vector_types.h"

namespace caffe::emulation {

struct Kernel {
  std::string name;
  dim3 blocks, threads;
  size_t shared_bytes;
  std::function<void()> thread;  // what each of them does
};

// A kernel that cannot go on, or does what CUDA does not define.
struct KernelFailure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Throws KernelFailure.
void run(const Kernel& kernel);

}  // namespace caffe::emulation
