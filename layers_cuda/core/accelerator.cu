// The process's GPU: one stream for all work, memory from the driver's own pool, recordings as CUDA graphs.
#include <cstring>

#include "core/accelerator.hpp"
#include "core/check.hpp"
#include "core/launch.hpp"

namespace caffe::cuda {
namespace {

// Kernel arguments are copied when the launch is queued.
struct SmallBytes {
  static constexpr size_t kMost = 256;
  uint32_t words[kMost / sizeof(uint32_t)];
};

__global__ void store_kernel(uint32_t* to, SmallBytes bytes, int words) {
  for (int i = threadIdx.x; i < words; i += blockDim.x) to[i] = bytes.words[i];
}

class CudaMoment : public Moment {
 public:
  explicit CudaMoment(cudaStream_t stream) {
    CAFFE_CUDA(cudaEventCreate(&event_));
    CAFFE_CUDA(cudaEventRecord(event_, stream));
  }
  ~CudaMoment() override { cudaEventDestroy(event_); }
  CudaMoment(const CudaMoment&) = delete;

  cudaEvent_t event() const { return event_; }
  void wait() override { CAFFE_CUDA(cudaEventSynchronize(event_)); }
  double milliseconds_since(Moment& earlier) override {
    wait();
    float milliseconds = 0;
    CAFFE_CUDA(cudaEventElapsedTime(&milliseconds, static_cast<CudaMoment&>(earlier).event_, event_));
    return milliseconds;
  }

 private:
  cudaEvent_t event_ = nullptr;
};

class CudaRecording : public Recording {
 public:
  CudaRecording(cudaGraph_t graph, cudaStream_t stream) : stream_(stream) {
    const cudaError_t error = cudaGraphInstantiate(&executable_, graph, 0);
    cudaGraphDestroy(graph);
    check(error, "cudaGraphInstantiate");
  }
  ~CudaRecording() override { cudaGraphExecDestroy(executable_); }
  CudaRecording(const CudaRecording&) = delete;

  void run() override { CAFFE_CUDA(cudaGraphLaunch(executable_, stream_)); }

 private:
  cudaStream_t stream_;
  cudaGraphExec_t executable_ = nullptr;
};

class CudaAccelerator : public Accelerator {
 public:
  explicit CudaAccelerator(int device) : device_(device) {
    int count = 0;
    check(cudaGetDeviceCount(&count), "no GPU can be used");
    if (device >= count)
      throw DeviceError(message("there is no GPU ", device, ", only ", count, ", counted from 0"));
    CAFFE_CUDA(cudaSetDevice(device));
    CAFFE_CUDA(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
    CAFFE_CUDA(cudaStreamCreateWithFlags(&uploads_, cudaStreamNonBlocking));
    CAFFE_CUDA(cudaEventCreateWithFlags(&border_, cudaEventDisableTiming));
  }

  // CUDA has a current device for each thread.
  void enter_thread() override { CAFFE_CUDA(cudaSetDevice(device_)); }

  void* allocate(size_t bytes) override {
    void* memory = nullptr;
    if (cudaMalloc(&memory, bytes) == cudaSuccess) return memory;
    cudaGetLastError();  // the failure is dealt with here
    size_t free = 0, total = 0;
    cudaMemGetInfo(&free, &total);
    throw DeviceError(message("the GPU has no room for ", bytes, " bytes more: ", free, " of its ", total,
                              " bytes are free; use a smaller batch, -max_memory or -precision bfloat16"));
  }
  void release(void* memory) noexcept override { cudaFree(memory); }

  void* allocate_host(size_t bytes) override {
    void* memory = nullptr;
    CAFFE_CUDA(cudaMallocHost(&memory, std::max<size_t>(bytes, 1)));
    return memory;
  }
  void release_host(void* memory) noexcept override { cudaFreeHost(memory); }

  void clear(void* memory, size_t bytes) override { CAFFE_CUDA(cudaMemsetAsync(memory, 0, bytes, stream_)); }
  void copy(void* to, const void* from, size_t bytes) override {
    CAFFE_CUDA(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream_));
  }
  void upload(void* to, const void* from, size_t bytes) override {
    CAFFE_CUDA(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream_));
  }
  void download(void* to, const void* from, size_t bytes) override {
    CAFFE_CUDA(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream_));
  }

  void store(void* to, const void* from, size_t bytes) override {
    SmallBytes values;
    if (bytes > SmallBytes::kMost || bytes % sizeof(uint32_t))
      throw std::logic_error("store() takes whole words, at most 256 bytes");
    std::memcpy(values.words, from, bytes);
    Context context{};
    context.stream = stream_;
    launch(context, "store", {dim3(1), dim3(64)}, store_kernel, static_cast<uint32_t*>(to), values,
           static_cast<int>(bytes / sizeof(uint32_t)));
  }

  std::unique_ptr<Moment> upload_aside(void* to, const void* from, size_t bytes) override {
    CAFFE_CUDA(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, uploads_));
    return std::make_unique<CudaMoment>(uploads_);
  }
  void queue_wait(Moment& moment) override {
    CAFFE_CUDA(cudaStreamWaitEvent(stream_, static_cast<CudaMoment&>(moment).event(), 0));
  }

  void wait() override { CAFFE_CUDA(cudaStreamSynchronize(stream_)); }
  void* stream() override { return stream_; }
  void precede(void* stream) override { order(stream_, static_cast<cudaStream_t>(stream)); }
  void follow(void* stream) override { order(static_cast<cudaStream_t>(stream), stream_); }
  std::unique_ptr<Moment> mark() override { return std::make_unique<CudaMoment>(stream_); }

  std::unique_ptr<Recording> record(const std::function<void()>& body) override {
    CAFFE_CUDA(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal));
    cudaGraph_t graph = nullptr;
    try {
      body();
    } catch (...) {
      cudaStreamEndCapture(stream_, &graph);
      if (graph) cudaGraphDestroy(graph);
      cudaGetLastError();
      throw;
    }
    CAFFE_CUDA(cudaStreamEndCapture(stream_, &graph));
    return std::make_unique<CudaRecording>(graph, stream_);
  }

 private:
  // A wait keeps the moment it was asked for, so one event serves all.
  void order(cudaStream_t first, cudaStream_t second) {
    CAFFE_CUDA(cudaEventRecord(border_, first));
    CAFFE_CUDA(cudaStreamWaitEvent(second, border_, 0));
  }

  const int device_;
  cudaStream_t stream_ = nullptr, uploads_ = nullptr;
  cudaEvent_t border_ = nullptr;
};

const bool registered = [] {
  register_accelerator([](int device) { return std::make_unique<CudaAccelerator>(device); });
  return true;
}();

}  // namespace
}  // namespace caffe::cuda
