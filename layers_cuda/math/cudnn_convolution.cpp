// Convolutions by cuDNN. A plan is made once for each spec and shared by all layers of the process.
#include <algorithm>
#include <cstdlib>
#include <map>
#include <mutex>
#include <sstream>

#include "core/scratch.hpp"
#include "math/convolution.hpp"
#include "math/cudnn_cache.hpp"
#include "math/cudnn_run.hpp"
#include "math/cudnn_timing.hpp"

namespace caffe::cuda {
namespace {

constexpr size_t kCandidates = 3;  // plans of each kind that are timed; each may take a second to build

std::string joined(const std::vector<int64_t>& values) {
  std::ostringstream text;
  for (size_t i = 0; i < values.size(); ++i) text << (i ? "x" : "") << values[i];
  return text.str();
}

std::string type_name(const ConvolutionSpec& spec) {
  if (spec.dtype == DType::bfloat16) return "bfloat16";
  return spec.tf32 ? "tf32" : "float32";
}

// All that a plan depends on, in words.
std::string describe(const ConvolutionSpec& spec, Pass pass) {
  const char* passes[] = {"forward", "data gradient", "weight gradient"};
  std::string text =
      message(passes[static_cast<size_t>(pass)], ", ", type_name(spec), ", ", spec.items, " of ",
              joined(spec.in), "x", spec.channels, " to ", joined(spec.out), "x", spec.outputs, ", kernel ",
              joined(spec.kernel), ", stride ", joined(spec.stride), ", pad ", joined(spec.pad),
              ", dilation ", joined(spec.dilation), ", group ", spec.group);
  if (pass == Pass::data_gradient) return text + (spec.accumulates ? ", added" : "");
  if (pass == Pass::weight_gradient) return text;
  return text + (spec.bias ? ", bias" : "") + (spec.addend ? ", addend" : "") + (spec.relu ? ", relu" : "");
}

// CAFFE_CONVOLUTION_TIMING=0 takes cuDNN's first suggestion, which does not depend on how busy the GPU
// happens to be: the same kernels, hence the same bits, on all machines with the same GPU and libraries.
bool timing_wanted() {
  const char* wish = std::getenv("CAFFE_CONVOLUTION_TIMING");
  return !wish || std::string(wish) != "0";
}

Plan choose(const ConvolutionSpec& spec, Pass pass, const std::string& description, bool timing) {
  std::vector<Plan> plans = make_plans(spec, pass, cudnn_device(), timing ? kCandidates : 1);
  if (plans.empty()) throw DeviceError(message("cuDNN has no kernel for the convolution: ", description));
  // Without room to take the time, the first has to do; the net itself may still fit.
  const size_t best = plans.size() > 1 ? fastest(spec, pass, plans).value_or(0) : 0;
  return std::move(plans[best]);
}

// What another process has remembered, unless cuDNN cannot make sense of it.
std::optional<Plan> recall(const Cache& cache, const std::string& key) {
  const auto text = cache.find(key);
  if (!text) return std::nullopt;
  try {
    return Plan(*text, cudnn_device());
  } catch (const DeviceError&) {
    return std::nullopt;
  }
}

void remember(const Cache& cache, const std::string& key, const Plan& plan) {
  try {
    cache.remember(key, plan.to_text());
  } catch (const Unsupported&) {
    // Then it is chosen again by the next process.
  }
}

Plan recall_or_choose(const ConvolutionSpec& spec, Pass pass, const std::string& description) {
  static const Cache cache(cache_folder("convolutions"));
  const bool timing = timing_wanted();
  const std::string key = cudnn_device_name() + (timing ? ", timed, " : ", untimed, ") + description;
  if (auto known = recall(cache, key)) return std::move(*known);
  Plan plan = choose(spec, pass, description, timing);
  remember(cache, key, plan);
  return plan;
}

using PlanPtr = std::shared_ptr<const Plan>;

PlanPtr plan_for(const ConvolutionSpec& spec, Pass pass) {
  // Never destroyed: at the end of the process CUDA may be gone first.
  static auto& plans = *new std::map<std::string, PlanPtr>;
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  const std::string description = describe(spec, pass);
  PlanPtr& plan = plans[description];
  if (!plan) plan = std::make_shared<const Plan>(recall_or_choose(spec, pass, description));
  return plan;
}

// One pass, whichever it is.
class PlannedPass {
 public:
  PlannedPass(const ConvolutionSpec& spec, Pass pass)
      : spec_(spec), pass_(pass), plan_(plan_for(spec, pass)) {}

  void run(const Context& context, size_t used, const Pointers& pointers) const {
    Scratch scratch(context, used);
    cuda::run(context, spec_, pass_, *plan_, pointers, scratch.take<char>(scratch_bytes()));
  }
  size_t scratch_bytes() const { return cuda::scratch_bytes(spec_, pass_, *plan_); }

 private:
  const ConvolutionSpec spec_;
  const Pass pass_;
  const PlanPtr plan_;
};

class CudnnForward : public ConvolutionForward {
 public:
  explicit CudnnForward(const ConvolutionSpec& spec) : pass_(spec, Pass::forward) {}
  void run(const Context& context, size_t used, const void* x, const void* w, const float* bias,
           const void* addend, void* y) override {
    pass_.run(context, used, {x, w, y, bias, addend});
  }
  size_t scratch_bytes() const override { return pass_.scratch_bytes(); }

 private:
  const PlannedPass pass_;
};

class CudnnDataGradient : public ConvolutionDataGradient {
 public:
  explicit CudnnDataGradient(const ConvolutionSpec& spec) : pass_(spec, Pass::data_gradient) {}
  void run(const Context& context, size_t used, const void* dy, const void* w, void* dx) override {
    pass_.run(context, used, {dx, w, dy});
  }
  size_t scratch_bytes() const override { return pass_.scratch_bytes(); }

 private:
  const PlannedPass pass_;
};

class CudnnWeightGradient : public ConvolutionWeightGradient {
 public:
  explicit CudnnWeightGradient(const ConvolutionSpec& spec) : pass_(spec, Pass::weight_gradient) {}
  void run(const Context& context, size_t used, const void* x, const void* dy, void* dw) override {
    pass_.run(context, used, {x, dw, dy});
  }
  size_t scratch_bytes() const override { return pass_.scratch_bytes(); }

 private:
  const PlannedPass pass_;
};

}  // namespace

std::unique_ptr<ConvolutionForward> make_forward(const ConvolutionSpec& spec) {
  return std::make_unique<CudnnForward>(spec);
}

std::unique_ptr<ConvolutionDataGradient> make_data_gradient(const ConvolutionSpec& spec) {
  return std::make_unique<CudnnDataGradient>(spec);
}

std::unique_ptr<ConvolutionWeightGradient> make_weight_gradient(const ConvolutionSpec& spec) {
  return std::make_unique<CudnnWeightGradient>(spec);
}

}  // namespace caffe::cuda
