// How kernels are started, on a GPU and on the emulated one.
#pragma once

#include <cuda_runtime.h>

#include <array>
#include <cstdint>
#include <limits>
#include <tuple>
#include <type_traits>
#include <utility>

#include "core/error.hpp"
#include "core/layer.hpp"

namespace caffe::cuda {

struct Grid {
  dim3 blocks, threads;
  size_t shared_bytes = 0;  // of dynamic_shared()
};

// One item a thread.
inline Grid grid_for(int64_t items, int threads = 256) {
  const int64_t blocks = (items + threads - 1) / threads;
  if (items < 0 || blocks > std::numeric_limits<int32_t>::max())
    throw DeviceError(message("a kernel over ", items, " items needs more blocks than a launch can have"));
  return {dim3(static_cast<unsigned>(blocks)), dim3(static_cast<unsigned>(threads))};
}

// In a kernel: the shared memory that was asked for by Grid::shared_bytes, 16-byte aligned.
template <class T>
__device__ inline T* dynamic_shared() {
#ifdef CAFFE_EMULATED_CUDA
  return static_cast<T*>(emulation::dynamic_shared_memory());
#else
  extern __shared__ __align__(16) unsigned char caffe_dynamic_shared[];
  return reinterpret_cast<T*>(caffe_dynamic_shared);
#endif
}

namespace detail {

inline void check_launch(cudaError_t status, const char* name, const Grid& grid) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // it is told now, and must not be found again by a later check
  const auto& [blocks, threads, shared_bytes] = grid;
  throw DeviceError(message("kernel ", name, " with ", blocks.x, " x ", blocks.y, " x ", blocks.z,
                            " blocks of ", threads.x, " x ", threads.y, " x ", threads.z, " threads and ",
                            shared_bytes, " bytes of shared memory: ", cudaGetErrorString(status)));
}

// Converts as an assignment does, but an integer that does not fit is an error.
template <class Parameter, class Argument>
Parameter convert(const char* name, Argument&& argument) {
  using Value = std::remove_cvref_t<Argument>;
  if constexpr (std::is_integral_v<Parameter> && std::is_integral_v<Value> &&
                !std::is_same_v<Parameter, bool> && !std::is_same_v<Value, bool>) {
    if (!std::in_range<Parameter>(argument))
      throw DeviceError(message("kernel ", name, ": argument ", argument, " does not fit its parameter"));
    return static_cast<Parameter>(argument);
  } else {
    return std::forward<Argument>(argument);
  }
}

}  // namespace detail

// Queues the kernel on the context's stream. No blocks: does nothing. Throws DeviceError.
template <class... Parameters, class... Arguments>
void launch(const Context& context, const char* name, Grid grid, void (*kernel)(Parameters...),
            Arguments&&... arguments) {
  static_assert(sizeof...(Parameters) == sizeof...(Arguments), "one argument for each parameter");
  if (grid.blocks.x == 0 || grid.blocks.y == 0 || grid.blocks.z == 0) return;
  constexpr size_t kFreeSharedBytes = 48 * 1024;  // more has to be asked for
  if (grid.shared_bytes > kFreeSharedBytes)
    detail::check_launch(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                              static_cast<int>(grid.shared_bytes)),
                         name, grid);

  std::tuple<Parameters...> values{detail::convert<Parameters>(name, std::forward<Arguments>(arguments))...};
  auto pointers = std::apply(
      [](auto&... value) { return std::array<void*, sizeof...(Parameters)>{static_cast<void*>(&value)...}; },
      values);
  const auto stream = static_cast<cudaStream_t>(context.stream);
#ifdef CAFFE_EMULATED_CUDA
  emulation::name_next_launch(name);
#endif
  detail::check_launch(
      cudaLaunchKernel(kernel, grid.blocks, grid.threads, pointers.data(), grid.shared_bytes, stream), name,
      grid);
}

}  // namespace caffe::cuda
