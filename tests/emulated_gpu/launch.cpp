// Launches of kernels: checked at the call, run at a wait.
#include <map>
#include <string>
#include <utility>

#include "block.hpp"
#include "error.hpp"
#include "limits.hpp"
#include "memory.hpp"
#include "stream.hpp"

namespace caffe::emulation {
namespace {

thread_local std::string name_of_next = "without name";

// Bytes of dynamic shared memory a kernel may have, where more than usual was asked for.
std::map<const void*, size_t>& shared_limits() {
  static auto* limits = new std::map<const void*, size_t>;
  return *limits;
}

size_t shared_limit(const void* kernel) {
  const auto limit = shared_limits().find(kernel);
  return limit == shared_limits().end() ? kSharedBytes : limit->second;
}

bool possible(dim3 blocks, dim3 threads) {
  return blocks.x > 0 && blocks.y > 0 && blocks.z > 0 && blocks.x <= kBlocksX && blocks.y <= kBlocksYZ &&
         blocks.z <= kBlocksYZ && threads.x > 0 && threads.y > 0 && threads.z > 0 && threads.x <= kThreads &&
         threads.y <= kThreads && threads.z <= kThreadsZ &&
         uint64_t(threads.x) * threads.y * threads.z <= kThreads;
}

}  // namespace

void name_next_launch(const char* name) { name_of_next = name; }

cudaError_t set_attribute(const void* kernel, cudaFuncAttribute attribute, int value) {
  const Lock lock;
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess;
  if (value < 0 || static_cast<size_t>(value) > kSharedBytesOptIn) return report(cudaErrorInvalidValue);
  shared_limits()[kernel] = static_cast<size_t>(value);
  return cudaSuccess;
}

cudaError_t launch(const void* kernel, std::function<void()> thread, std::vector<const void*> arrays,
                   dim3 blocks, dim3 threads, size_t shared_bytes, cudaStream_t stream) {
  const Lock lock;
  std::string name = std::exchange(name_of_next, "without name");
  if (!possible(blocks, threads)) return report(cudaErrorInvalidConfiguration);
  if (shared_bytes > shared_limit(kernel)) return report(cudaErrorInvalidValue);
  return enqueue(stream, [arrays = std::move(arrays),
                          call = Kernel{std::move(name), blocks, threads, shared_bytes, std::move(thread)}] {
    require_reachable("kernel " + call.name, arrays);
    run(call);
  });
}

}  // namespace caffe::emulation
