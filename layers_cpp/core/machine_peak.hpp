// What this machine can do at best, measured now on all OpenMP threads: the two roofs of the roofline.
#pragma once

#include <cstdint>

#include "core/dtype.hpp"

namespace caffe {

// Multiply-adds on registers, in GFLOP/s (a multiply-add is two); 0 if the processor has no instruction for
// them.
double peak_gflops(DType type);

// Copies between two arrays that together have `bytes`, in GB/s; what is read and what is written both count.
double copy_gbytes_per_second(int64_t bytes);

}  // namespace caffe
