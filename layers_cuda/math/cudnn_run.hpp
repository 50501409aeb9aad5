// Queues convolutions on the process's GPU.
#pragma once

#include <string>

#include "math/cudnn_plan.hpp"

namespace caffe::cuda {

// The GPU as cuDNN plans for it. The first call sets cuDNN up.
PlanningDevice cudnn_device();
// Its name and cuDNN's version.
const std::string& cudnn_device_name();

// The whole of what the spec asks for; `scratch` has scratch_bytes().
void run(const Context& context, const ConvolutionSpec& spec, Pass pass, const Plan& plan,
         const Pointers& pointers, char* scratch);
size_t scratch_bytes(const ConvolutionSpec& spec, Pass pass, const Plan& plan);

}  // namespace caffe::cuda
