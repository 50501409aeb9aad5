// Stand-in for the CUDA runtime: what layers_cuda uses of it, for g++. The .cu files of this repository
// compile against it unchanged and run on the CPU; tests/emulated_gpu/README.md says what differs.
#pragma once

#define __global__
#define __device__
#define __host__
#define __constant__
#define __align__(bytes) alignas(bytes)
#define __launch_bounds__(...)
#define __forceinline__ inline __attribute__((always_inline))
#define __shared__ static  // the blocks run one after the other

#include "cuda_runtime_api.h"
#include "device_atomics.h"
#include "device_math.h"
#include "device_threads.h"
#include "vector_types.h"
