// Queues convolutions on the process's GPU.
#pragma once

#include <string>

#include "math/cudnn_plan.hpp"

namespace caffe::cuda {

// The GPU as cuDNN plans for it. The first call sets cuDNN up.
PlanningDevice cudnn_device();
// Its name and cuDNN's version.
const std::string& cudnn_device_name();

// The whole of what the spec asks for; `workspace` has the plan's workspace_bytes().
void run(const Context& context, const ConvolutionSpec& spec, const Plan& plan, const Pointers& pointers,
         void* workspace);

}  // namespace caffe::cuda
