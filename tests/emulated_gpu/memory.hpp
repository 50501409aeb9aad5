// Which memory the device can reach.
#pragma once

#include <string>
#include <vector>

namespace caffe::emulation {

// For work called `name`, when it is done: throws KernelFailure unless all arrays are memory of the device,
// or of the host where the device can reach it.
void require_reachable(const std::string& name, const std::vector<const void*>& arrays);

}  // namespace caffe::emulation
