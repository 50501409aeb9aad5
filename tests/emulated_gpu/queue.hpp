// Queues work that is no kernel: what a vendor's library does on a real device.
#pragma once

#include <functional>

#include "core/error.hpp"
#include "core/layer.hpp"
#include "stream.hpp"

namespace caffe::cuda {

inline void queue(const Context& context, const char* name, std::function<void()> work) {
  const cudaError_t status = emulation::enqueue(static_cast<cudaStream_t>(context.stream), std::move(work));
  if (status != cudaSuccess) throw DeviceError(message(name, ": ", cudaGetErrorString(status)));
}

}  // namespace caffe::cuda
