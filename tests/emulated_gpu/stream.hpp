// Queues of work. What is queued is put off as long as CUDA allows: until somebody waits for it.
#pragma once

#include <functional>

#include "cuda_runtime_api.h"

namespace caffe::emulation {

using Work = std::function<void()>;

// Queues the work on the stream or, while the stream captures, adds it to the graph.
cudaError_t enqueue(cudaStream_t stream, Work work);

// Does all work of the stream, and of the others it waits for. Returns the first error since the last wait.
cudaError_t finish(cudaStream_t stream);
cudaError_t finish_all();

bool captures(cudaStream_t stream);
// The error of a call that may not be made while the stream captures; invalidates the capture.
cudaError_t refuse_in_capture(cudaStream_t stream);
// The same for a call that may not be made while any stream captures, as it would wait for the device.
cudaError_t refuse_in_any_capture();

}  // namespace caffe::emulation
