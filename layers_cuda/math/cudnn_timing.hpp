// Takes the time of plans on the process's GPU.
#pragma once

#include "math/cudnn_plan.hpp"

namespace caffe::cuda {

// Index of the fastest of these plans for a pass of the spec. Waits for the GPU, and needs memory there for
// the arrays and the workspace as long as it runs; nothing if there is too little of it.
std::optional<size_t> fastest(const ConvolutionSpec& spec, Pass pass, const std::vector<Plan>& plans);

}  // namespace caffe::cuda
