// What is queued, captured and waited for, for the tests of the emulator in tests/cuda. Each function returns
// what a reader of the memory sees.
#include "device.hpp"

namespace caffe::cuda::test {
namespace {

// x: (n). x += by
__global__ void add_kernel(float* x, int n, float by) {
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < static_cast<unsigned>(n)) x[i] += by;
}

constexpr int kSize = 100;

struct Device {
  Device() : x(kSize) { check(cudaMemset(x.data, 0, x.bytes)), check(cudaDeviceSynchronize()); }

  void add(float by, const Stream& to) const {
    launch(to.context(), "add", grid_for(kSize), add_kernel, x.data, kSize, by);
  }
  float last() const {
    float value;
    check(cudaMemcpy(&value, x.data + kSize - 1, sizeof(float), cudaMemcpyDeviceToHost));
    return value;
  }

  Stream stream;
  Array<float> x;
};

struct Event {
  explicit Event(unsigned flags = cudaEventDefault) { check(cudaEventCreateWithFlags(&handle, flags)); }
  ~Event() { cudaEventDestroy(handle); }
  void record(const Stream& stream) const { check(cudaEventRecord(handle, stream.handle)); }

  cudaEvent_t handle;
};

struct Graph {
  template <class Body>
  Graph(const Stream& stream, Body body) {
    check(cudaStreamBeginCapture(stream.handle, cudaStreamCaptureModeGlobal));
    body();
    cudaGraph_t graph;
    check(cudaStreamEndCapture(stream.handle, &graph));
    check(cudaGraphInstantiate(&handle, graph));
    check(cudaGraphDestroy(graph));
  }
  ~Graph() { cudaGraphExecDestroy(handle); }
  void launch(const Stream& stream) const { check(cudaGraphLaunch(handle, stream.handle)); }

  cudaGraphExec_t handle;
};

}  // namespace

// Uploads ones and then writes twos to their source, with or without a wait between.
EXPORT const char* test_upload(bool wait, float* arrived) {
  return run([&] {
    const Device device;
    const PinnedArray<float> source(kSize, 1);
    check(cudaMemcpyAsync(device.x.data, source.data, device.x.bytes, cudaMemcpyHostToDevice,
                          device.stream.handle));
    if (wait) device.stream.wait();
    source.data[kSize - 1] = 2;
    device.stream.wait();
    *arrived = device.last();
  });
}

// The same from memory that CUDA reads at the call.
EXPORT const char* test_pageable_upload(float* arrived) {
  return run([&] {
    const Device device;
    float source = 1;
    check(cudaMemcpyAsync(device.x.data + kSize - 1, &source, sizeof(float), cudaMemcpyHostToDevice,
                          device.stream.handle));
    source = 2;
    device.stream.wait();
    *arrived = device.last();
  });
}

// Downloads what a kernel makes; `seen` is read before and after the wait.
EXPORT const char* test_download(float* seen) {
  return run([&] {
    const Device device;
    const PinnedArray<float> target(kSize, -1);
    device.add(3, device.stream);
    device.x.download(target.data, device.stream);
    seen[0] = target.data[kSize - 1];
    device.stream.wait();
    seen[1] = target.data[kSize - 1];
  });
}

// One stream adds and another one copies the sum, waiting for the first one's event or not.
EXPORT const char* test_event(bool wait, float* seen) {
  return run([&] {
    const Device device;
    const Stream second;
    const Event event;
    const PinnedArray<float> target(kSize, -1);
    device.add(1, device.stream);
    event.record(device.stream);
    device.add(10, device.stream);
    if (wait) check(cudaStreamWaitEvent(second.handle, event.handle));
    device.x.download(target.data, second);
    second.wait();
    *seen = target.data[kSize - 1];
  });
}

EXPORT const char* test_elapsed(float* milliseconds) {
  return run([&] {
    const Device device;
    const Event begin, end;
    begin.record(device.stream);
    for (int i = 0; i < 1000; ++i) device.add(1, device.stream);
    end.record(device.stream);
    check(cudaEventQuery(end.handle) == cudaErrorNotReady ? cudaSuccess : cudaErrorIllegalState);
    check(cudaEventSynchronize(end.handle));
    check(cudaEventElapsedTime(milliseconds, begin.handle, end.handle));
  });
}

// seen: after the capture, after one replay, after two more.
EXPORT const char* test_replay(float* seen) {
  return run([&] {
    const Device device;
    float by = 1;
    const Graph graph(device.stream, [&] {
      device.add(by, device.stream);
      by = 100;  // the arguments have been copied
      device.add(4, device.stream);
    });
    device.stream.wait();
    seen[0] = device.last();
    graph.launch(device.stream);
    device.stream.wait();
    seen[1] = device.last();
    graph.launch(device.stream);
    graph.launch(device.stream);
    device.stream.wait();
    seen[2] = device.last();
  });
}

// errors: of a call that may not be made during the capture, and of the capture's end.
EXPORT const char* test_illegal_capture(int call, int* errors) {
  return run([&] {
    const Device device;
    const Stream second;
    const Event outside;
    outside.record(second);
    float value = 0;
    void* memory;
    const cudaStream_t stream = device.stream.handle;
    check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
    switch (call) {
      case 0:
        errors[0] = cudaMalloc(&memory, 8);
        break;
      case 1:
        errors[0] = cudaStreamSynchronize(stream);
        break;
      case 2:
        errors[0] = cudaStreamWaitEvent(stream, outside.handle);
        break;
      case 3:
        errors[0] = cudaDeviceSynchronize();
        break;
      case 4:
        errors[0] = cudaMemcpy(device.x.data, &value, sizeof value, cudaMemcpyHostToDevice);
        break;
      case 5:
        errors[0] = cudaMemcpyAsync(device.x.data, &value, sizeof value, cudaMemcpyHostToDevice, stream);
        break;
      case 6:
        errors[0] = cudaSuccess;
        break;
    }
    cudaGraph_t graph;
    errors[1] = cudaStreamEndCapture(stream, &graph);
    cudaGraphDestroy(graph);
    cudaGetLastError();
  });
}

EXPORT const char* test_wrong_copy(int number) {
  return run([&] {
    const Device device;
    float value[2] = {0, 0};
    float* x = device.x.data;
    switch (number) {
      case 0:
        check(cudaMemcpy(value, x, 4, cudaMemcpyHostToDevice));
        break;
      case 1:
        check(cudaMemcpy(x, x, 4, cudaMemcpyDeviceToHost));
        break;
      case 2:
        check(cudaMemcpy(x + kSize - 1, value, 8, cudaMemcpyHostToDevice));
        break;
      case 3:
        check(cudaMemset(value, 0, 4));
        break;
    }
  });
}

EXPORT const char* test_out_of_memory() {
  return run([&] {
    size_t free, total;
    check(cudaMemGetInfo(&free, &total));
    const Array<char> too_much(static_cast<int64_t>(free) + 1);
  });
}

// The device's memory is full of NaN until something writes it.
EXPORT const char* test_new_memory(float* value) {
  return run([&] {
    const Array<float> x(kSize);
    check(cudaMemcpy(value, x.data + kSize / 2, sizeof(float), cudaMemcpyDeviceToHost));
  });
}

}  // namespace caffe::cuda::test
