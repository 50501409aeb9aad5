#include "math/cudnn_run.hpp"

#include <functional>
#include <mutex>
#include <numeric>
#include <utility>

#include "core/accelerator.hpp"
#include "core/check.hpp"
#include "core/scratch.hpp"
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

void execute(const Context& context, const Plan& plan, const Pointers& pointers, void* workspace) {
  const std::lock_guard lock(shared().mutex);
  const cudnnHandle_t handle = shared().handle;
  cudnn().check(cudnn().set_stream(handle, static_cast<cudaStream_t>(context.stream)), "setting a stream");
  plan.execute(handle, pointers, workspace);
}

int64_t places(int64_t items, const std::vector<int64_t>& spatial) {
  return std::accumulate(spatial.begin(), spatial.end(), items, std::multiplies<>());
}

// What a plan for forward leaves of that which the spec asks for.
void finish(const Context& context, const ConvolutionSpec& spec, const Pointers& pointers) {
  add_bias_relu(context, spec.dtype, places(spec.items, spec.out), spec.outputs,
                static_cast<const float*>(pointers.bias), pointers.addend, spec.relu,
                const_cast<void*>(pointers.y));
}

// A plan that can only overwrite does so in the scratch, from where its gradient is added.
bool adds_from_scratch(const ConvolutionSpec& spec, Pass pass, const Plan& plan) {
  return pass == Pass::data_gradient && has_epilogue(spec, pass) && !plan.fused();
}

size_t gradient_bytes(const ConvolutionSpec& spec) {
  return static_cast<size_t>(places(spec.items, spec.in) * spec.channels) * size_of(spec.dtype);
}

void run_and_add(const Context& context, const ConvolutionSpec& spec, const Plan& plan, Pointers pointers,
                 char* scratch) {
  void* const dx = const_cast<void*>(std::exchange(pointers.x, scratch));
  execute(context, plan, pointers, scratch + scratch_size(gradient_bytes(spec)));
  add_bias_relu(context, spec.dtype, places(spec.items, spec.in), spec.channels, nullptr, scratch,
                /*relu=*/false, dx);
}

}  // namespace

PlanningDevice cudnn_device() { return {shared().handle, nullptr}; }

const std::string& cudnn_device_name() { return shared().name; }

void run(const Context& context, const ConvolutionSpec& spec, Pass pass, const Plan& plan,
         const Pointers& pointers, char* scratch) {
  if (adds_from_scratch(spec, pass, plan)) return run_and_add(context, spec, plan, pointers, scratch);
  execute(context, plan, pointers, scratch);
  if (!plan.fused()) finish(context, spec, pointers);
}

size_t scratch_bytes(const ConvolutionSpec& spec, Pass pass, const Plan& plan) {
  const size_t gradient = adds_from_scratch(spec, pass, plan) ? scratch_size(gradient_bytes(spec)) : 0;
  return gradient + scratch_size(plan.workspace_bytes());
}

}  // namespace caffe::cuda
