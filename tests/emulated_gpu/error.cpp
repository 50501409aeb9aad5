#include "error.hpp"

#include <deque>
#include <utility>

namespace caffe::emulation {
namespace {

std::recursive_mutex& mutex() {
  static auto* mutex = new std::recursive_mutex;
  return *mutex;
}

// Never freed: a caller may keep the pointer it got.
std::deque<std::string>& failures() {
  static auto* failures = new std::deque<std::string>{"unspecified launch failure"};
  return *failures;
}

thread_local cudaError_t last_error = cudaSuccess;

struct Entry {
  cudaError_t error;
  const char *name, *text;
};

#define ENTRY(error, text) {error, #error, text}
constexpr Entry kErrors[] = {
    ENTRY(cudaSuccess, "no error"),
    ENTRY(cudaErrorInvalidValue, "invalid argument"),
    ENTRY(cudaErrorMemoryAllocation, "out of memory"),
    ENTRY(cudaErrorInvalidConfiguration, "invalid configuration argument"),
    ENTRY(cudaErrorInvalidMemcpyDirection, "invalid copy direction for memcpy"),
    ENTRY(cudaErrorInsufficientDriver, "CUDA driver version is insufficient for CUDA runtime version"),
    ENTRY(cudaErrorNoDevice, "no CUDA-capable device is detected"),
    ENTRY(cudaErrorInvalidDevice, "invalid device ordinal"),
    ENTRY(cudaErrorInvalidResourceHandle, "invalid resource handle"),
    ENTRY(cudaErrorIllegalState, "the operation cannot be performed in the present state"),
    ENTRY(cudaErrorNotReady, "device not ready"),
    ENTRY(cudaErrorIllegalAddress, "an illegal memory access was encountered"),
    ENTRY(cudaErrorLaunchFailure, "unspecified launch failure"),
    ENTRY(cudaErrorStreamCaptureUnsupported, "operation not permitted when stream is capturing"),
    ENTRY(cudaErrorStreamCaptureInvalidated, "operation failed due to a previous error during capture"),
    ENTRY(cudaErrorStreamCaptureIsolation, "dependency created on uncaptured work in another stream"),
    ENTRY(cudaErrorStreamCaptureImplicit,
          "operation would make the legacy stream depend on a capturing stream"),
    ENTRY(cudaErrorCapturedEvent, "operation not permitted on an event last recorded in a capturing stream"),
    ENTRY(cudaErrorStreamCaptureWrongThread, "attempt to terminate a capture from another thread"),
};
#undef ENTRY

const Entry* find(cudaError_t error) {
  for (const Entry& entry : kErrors)
    if (entry.error == error) return &entry;
  return nullptr;
}

}  // namespace

Lock::Lock() { mutex().lock(); }
Lock::~Lock() { mutex().unlock(); }

cudaError_t report(cudaError_t error) {
  if (error != cudaSuccess && error != cudaErrorNotReady) last_error = error;
  return error;
}

void describe_failure(const std::string& what) {
  failures().push_back("unspecified launch failure: " + what);
}

}  // namespace caffe::emulation

using namespace caffe::emulation;

const char* cudaGetErrorName(cudaError_t error) {
  const Entry* entry = find(error);
  return entry ? entry->name : "unrecognized error code";
}

const char* cudaGetErrorString(cudaError_t error) {
  const Lock lock;
  if (error == cudaErrorLaunchFailure) return failures().back().c_str();
  const Entry* entry = find(error);
  return entry ? entry->text : "unrecognized error code";
}

cudaError_t cudaGetLastError() { return std::exchange(last_error, cudaSuccess); }

cudaError_t cudaPeekAtLastError() { return last_error; }
