// What the process may know of its GPUs without using one.
#include "core/accelerator.hpp"
#include "core/check.hpp"

namespace caffe::cuda {
namespace {

struct Attribute {
  const char* name;
  cudaDeviceAttr number;
};

constexpr Attribute kAttributes[] = {
    {"compute_capability_major", cudaDevAttrComputeCapabilityMajor},
    {"compute_capability_minor", cudaDevAttrComputeCapabilityMinor},
    {"shared_memory_per_block_bytes", cudaDevAttrMaxSharedMemoryPerBlock},
    {"registers_per_block", cudaDevAttrMaxRegistersPerBlock},
    {"warp_size", cudaDevAttrWarpSize},
    {"memory_pitch_bytes", cudaDevAttrMaxPitch},
    {"threads_per_block", cudaDevAttrMaxThreadsPerBlock},
    {"block_x", cudaDevAttrMaxBlockDimX},
    {"block_y", cudaDevAttrMaxBlockDimY},
    {"block_z", cudaDevAttrMaxBlockDimZ},
    {"grid_x", cudaDevAttrMaxGridDimX},
    {"grid_y", cudaDevAttrMaxGridDimY},
    {"grid_z", cudaDevAttrMaxGridDimZ},
    {"clock_khz", cudaDevAttrClockRate},
    {"constant_memory_bytes", cudaDevAttrTotalConstantMemory},
    {"texture_alignment_bytes", cudaDevAttrTextureAlignment},
    {"copies_while_computing", cudaDevAttrGpuOverlap},
    {"multiprocessors", cudaDevAttrMultiProcessorCount},
    {"kernel_timeout", cudaDevAttrKernelExecTimeout},
};

std::vector<int> architectures() {
#ifdef __CUDA_ARCH_LIST__
  std::vector<int> all{__CUDA_ARCH_LIST__};
  for (int& architecture : all) architecture /= 10;
  return all;
#else
  return {};
#endif
}

AcceleratorReport report() {
  AcceleratorReport found{.architectures = architectures(), .problem = {}};
  CAFFE_CUDA(cudaRuntimeGetVersion(&found.runtime_version));
  CAFFE_CUDA(cudaDriverGetVersion(&found.driver_version));
  const cudaError_t error = cudaGetDeviceCount(&found.devices);
  if (error == cudaSuccess) return found;
  cudaGetLastError();  // it is told below
  found.devices = 0;
  found.problem = cudaGetErrorString(error);
  return found;
}

void require(int device) {
  int count = 0;
  check(cudaGetDeviceCount(&count), "no GPU can be used");
  if (device < 0 || device >= count)
    throw DeviceError(message("there is no GPU ", device, ", only ", count, ", counted from 0"));
}

AcceleratorProperties properties(int device) {
  require(device);
  cudaDeviceProp described;
  CAFFE_CUDA(cudaGetDeviceProperties(&described, device));
  AcceleratorProperties result{described.name, {}};
  result.numbers["memory_bytes"] = static_cast<int64_t>(described.totalGlobalMem);
  for (const auto& [name, number] : kAttributes) {
    int value = 0;
    CAFFE_CUDA(cudaDeviceGetAttribute(&value, number, device));
    result.numbers[name] = value;
  }
  return result;
}

std::pair<size_t, size_t> memory(int device) {
  require(device);
  int before = 0;
  size_t free = 0, total = 0;
  CAFFE_CUDA(cudaGetDevice(&before));
  CAFFE_CUDA(cudaSetDevice(device));
  const cudaError_t error = cudaMemGetInfo(&free, &total);
  CAFFE_CUDA(cudaSetDevice(before));
  check(error, "cudaMemGetInfo");
  return {free, total};
}

const bool registered = [] {
  register_accelerator_queries({report, properties, memory});
  return true;
}();

}  // namespace
}  // namespace caffe::cuda
