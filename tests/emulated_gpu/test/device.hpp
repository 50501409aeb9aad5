// What the tests of the emulator share: arrays on the device, and errors handed to Python as text.
#pragma once

#include <string>

#include "core/launch.hpp"
#include "core/storage.hpp"

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace caffe::cuda::test {

inline void check(cudaError_t status) {
  if (status != cudaSuccess)
    throw DeviceError(message(cudaGetErrorName(status), ": ", cudaGetErrorString(status)));
}

struct Stream {
  Stream() {
    check(cudaStreamCreateWithFlags(&handle, cudaStreamNonBlocking));
    scratch.reserve(1 << 20);
  }
  ~Stream() { cudaStreamDestroy(handle); }
  Context context() const { return {&scratch, 0, 0, handle}; }
  void wait() const { check(cudaStreamSynchronize(handle)); }

  cudaStream_t handle;
  mutable Storage scratch{Device::cuda};
};

template <class T>
struct Array {
  explicit Array(int64_t size) : bytes(static_cast<size_t>(size) * sizeof(T)) {
    check(cudaMalloc(&data, bytes));
  }
  Array(int64_t size, const T* values) : Array(size) {
    check(cudaMemcpy(data, values, bytes, cudaMemcpyHostToDevice));
  }
  ~Array() { cudaFree(data); }
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;

  void download(T* to, const Stream& stream) const {
    check(cudaMemcpyAsync(to, data, bytes, cudaMemcpyDeviceToHost, stream.handle));
  }

  size_t bytes;
  T* data = nullptr;
};

// Memory of the host that the device reads and writes itself.
template <class T>
struct PinnedArray {
  PinnedArray(int64_t size, T value) {
    check(cudaMallocHost(&data, static_cast<size_t>(size) * sizeof(T)));
    for (int64_t i = 0; i < size; ++i) data[i] = value;
  }
  ~PinnedArray() { cudaFreeHost(data); }
  PinnedArray(const PinnedArray&) = delete;
  PinnedArray& operator=(const PinnedArray&) = delete;

  T* data = nullptr;
};

// Null where the body succeeds, else the error's text, valid until the next call.
template <class Body>
const char* run(Body body) {
  static std::string error;
  try {
    body();
    return nullptr;
  } catch (const DeviceError& failure) {
    error = failure.what();
    return error.c_str();
  }
}

}  // namespace caffe::cuda::test
