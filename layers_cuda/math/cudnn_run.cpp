#include "math/cudnn_run.hpp"

#include <mutex>

#include "core/accelerator.hpp"
#include "core/check.hpp"
#include "math/bias_relu.hpp"

namespace caffe::cuda {
namespace {

// A handle must not be used by two threads at once, nor may every plan; one lock does for both.
struct Cudnn {
  cudnnHandle_t handle = nullptr;
  std::mutex mutex;
  std::string name;
};

std::string device_name() {
  int device = 0;
  CAFFE_CUDA(cudaGetDevice(&device));
  cudaDeviceProp properties;
  CAFFE_CUDA(cudaGetDeviceProperties(&properties, device));
  return properties.name;
}

Cudnn* set_up() {
  accelerator();  // makes its device that of this thread
  auto made = std::make_unique<Cudnn>();
  cudnn().check(cudnn().create(&made->handle), "setting up");
  made->name = message(device_name(), ", cuDNN ", cudnn().get_version());
  return made.release();
}

// Never destroyed: at the end of the process CUDA may be gone first.
Cudnn& shared() {
  static Cudnn* const instance = set_up();
  return *instance;
}

// What the plan leaves of that which the spec asks for.
void finish(const Context& context, const ConvolutionSpec& spec, const Pointers& pointers) {
  int64_t rows = spec.items;
  for (const int64_t size : spec.out) rows *= size;
  add_bias_relu(context, spec.dtype, rows, spec.outputs, static_cast<const float*>(pointers.bias),
                pointers.addend, spec.relu, const_cast<void*>(pointers.y));
}

}  // namespace

PlanningDevice cudnn_device() { return {shared().handle, nullptr}; }

const std::string& cudnn_device_name() { return shared().name; }

void run(const Context& context, const ConvolutionSpec& spec, const Plan& plan, const Pointers& pointers,
         void* workspace) {
  {
    const std::lock_guard lock(shared().mutex);
    const cudnnHandle_t handle = shared().handle;
    cudnn().check(cudnn().set_stream(handle, static_cast<cudaStream_t>(context.stream)), "setting a stream");
    plan.execute(handle, pointers, workspace);
  }
  if (!plan.fused()) finish(context, spec, pointers);
}

}  // namespace caffe::cuda
