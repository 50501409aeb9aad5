#include "math/cudnn_plan.hpp"

#include <algorithm>
#include <exception>

namespace caffe::cuda {
namespace {

using Notes = std::vector<cudnnBackendNumericalNote_t>;

// More scratch than this is not taken while there is a plan that makes do with less: all layers share the
// scratch, but it still counts against the memory that is left for the batch.
constexpr size_t kWorkspaceLimit = size_t{1} << 30;

// Ways that are looked at: the last ones named are slow, and each may take a second to compile.
constexpr int kMostTried = 24;

// First words of a plan's name.
constexpr const char *kFused = "fused", *kBare = "bare";

Descriptor engine_of(const Descriptor& config) {
  return config.get_descriptor(CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_BACKEND_ENGINE_DESCRIPTOR);
}

bool has(const Notes& notes, cudnnBackendNumericalNote_t note) {
  return std::find(notes.begin(), notes.end(), note) != notes.end();
}

bool precise(const Notes& notes, const ConvolutionSpec& spec) {
  if (has(notes, CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION)) return false;
  // Winograd's transforms would be rounded to bfloat16, which costs more digits than the sum does.
  if (spec.dtype == DType::bfloat16) return !has(notes, CUDNN_NUMERICAL_NOTE_WINOGRAD);
  if (spec.tf32) return true;
  // On float32, tensor cores round the factors to TF32.
  return !has(notes, CUDNN_NUMERICAL_NOTE_TENSOR_CORE) &&
         !has(notes, CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS);
}

std::vector<Descriptor> ask(const Graph& graph, cudnnBackendHeurMode_t mode, const PlanningDevice& device) {
  Descriptor heuristics(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  heuristics.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph.operations);
  heuristics.set(CUDNN_ATTR_ENGINEHEUR_MODE, mode);
  if (device.properties) heuristics.set(CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, *device.properties);
  heuristics.finalize();
  return heuristics.get_descriptors(CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR,
                                    /*at_most=*/128);
}

// The ways that give what is asked for: those that are the same at every run, and others. Every one of them
// can be captured in a CUDA graph, so there is nothing to choose in this respect.
struct Ways {
  std::vector<Descriptor> deterministic, other;

  void collect(std::vector<Descriptor> configs, const ConvolutionSpec& spec) {
    for (Descriptor& config : configs) {
      const Notes notes =
          engine_of(config).get_all<cudnnBackendNumericalNote_t>(CUDNN_ATTR_ENGINE_NUMERICAL_NOTE);
      if (!precise(notes, spec)) continue;
      (has(notes, CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC) ? other : deterministic)
          .push_back(std::move(config));
    }
  }
};

std::string name_of(const Descriptor& config, bool fused) {
  std::string name = message(fused ? kFused : kBare, " engine ",
                             engine_of(config).get<int64_t>(CUDNN_ATTR_ENGINE_GLOBAL_INDEX));
  for (const Descriptor& knob :
       config.get_descriptors(CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR,
                              /*at_most=*/64))
    name += message(" ", knob.get<cudnnBackendKnobType_t>(CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE), ":",
                    knob.get<int64_t>(CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE));
  return name;
}

// One graph, and plans for it.
class Planner {
 public:
  Planner(const ConvolutionSpec& spec, Pass pass, bool fused, const PlanningDevice& device)
      : spec_(spec),
        fused_(fused),
        device_(device),
        graph_(std::make_shared<const Graph>(convolution_graph(spec, pass, fused, device.handle))) {}

  std::vector<Plan> plans(size_t at_most) {
    Ways ways;
    for (const auto mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK}) {
      if (!plans_.empty() || !large_.empty()) break;
      ways.collect(ask(*graph_, mode, device_), spec_);
      build(std::exchange(ways.deterministic, {}), at_most);
    }
    if (plans_.empty() && large_.empty()) build(std::move(ways.other), 1);
    if (plans_.empty() && large_.empty() && failure_) std::rethrow_exception(failure_);
    return std::move(plans_.empty() ? large_ : plans_);
  }

 private:
  void build(std::vector<Descriptor> configs, size_t at_most) {
    for (Descriptor& config : configs) {
      if (plans_.size() == at_most || tried_++ == kMostTried) return;
      try {
        Plan plan(graph_, std::move(config), name_of(config, fused_), fused_, device_);
        std::vector<Plan>& like = plan.workspace_bytes() <= kWorkspaceLimit ? plans_ : large_;
        if (like.size() < at_most) like.push_back(std::move(plan));
      } catch (const Unsupported&) {
        // The heuristics also name ways that turn out not to exist for these shapes; the next one may.
      } catch (const DeviceError&) {
        failure_ = std::current_exception();  // told if no other way works
      }
    }
  }

  const ConvolutionSpec& spec_;
  const bool fused_;
  const PlanningDevice& device_;
  const std::shared_ptr<const Graph> graph_;
  std::vector<Plan> plans_, large_;  // large_: those that want too much scratch
  int tried_ = 0;
  std::exception_ptr failure_;
};

std::vector<Plan> plans_of_graph(const ConvolutionSpec& spec, Pass pass, bool fused,
                                 const PlanningDevice& device, size_t at_most) {
  try {
    return Planner(spec, pass, fused, device).plans(at_most);
  } catch (const Unsupported&) {
    return {};
  }
}

}  // namespace

Plan::Plan(std::shared_ptr<const Graph> graph, Descriptor config, std::string name, bool fused,
           const PlanningDevice& device)
    : graph_(std::move(graph)), config_(std::move(config)), name_(std::move(name)), fused_(fused) {
  plan_.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, *config_);
  finalize(device);
}

Plan::Plan(const std::string& text, const PlanningDevice& device)
    : name_(text.substr(0, text.find('\n'))), fused_(name_.starts_with(kFused)) {
  const std::string json = text.substr(std::min(name_.size() + 1, text.size()));
  plan_.set(CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, std::vector<char>(json.begin(), json.end()));
  finalize(device);
}

std::string Plan::to_text() const {
  const auto json = plan_.get_all<char>(CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION);
  return name_ + "\n" + std::string(json.begin(), json.end());
}

void Plan::finalize(const PlanningDevice& device) {
  if (device.handle)
    plan_.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, device.handle);
  else
    plan_.set(CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, *device.properties);
  plan_.finalize();
  workspace_bytes_ = static_cast<size_t>(plan_.get<int64_t>(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE));
}

void Plan::execute(cudnnHandle_t handle, const Pointers& pointers, void* workspace) const {
  std::vector<int64_t> ids;
  std::vector<void*> arrays;
  const auto give = [&](Operand operand, const void* array) {
    if (!array) return;
    ids.push_back(static_cast<int64_t>(operand));
    arrays.push_back(const_cast<void*>(array));
  };
  give(Operand::x, pointers.x);
  give(Operand::w, pointers.w);
  give(Operand::y, pointers.y);
  give(Operand::bias, fused_ ? pointers.bias : nullptr);
  give(Operand::addend, fused_ ? pointers.addend : nullptr);
  Descriptor variant(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
  variant.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, ids);
  variant.set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, arrays);
  variant.set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, workspace);
  variant.finalize();
  cudnn().check(cudnn().execute(handle, plan_.handle(), variant.handle()), "running a convolution");
}

std::vector<Plan> make_plans(const ConvolutionSpec& spec, Pass pass, const PlanningDevice& device,
                             size_t at_most) {
  if (!has_epilogue(spec, pass)) return plans_of_graph(spec, pass, /*fused=*/true, device, at_most);
  std::vector<Plan> plans;
  try {
    plans = plans_of_graph(spec, pass, /*fused=*/true, device, at_most);
  } catch (const DeviceError&) {
    // The products alone are below.
  }
  // A gradient is added by the very kernels that can also overwrite: a pass of ours behind them only costs.
  if (!plans.empty() && (at_most == 1 || pass == Pass::data_gradient)) return plans;
  for (Plan& bare : plans_of_graph(spec, pass, /*fused=*/false, device, at_most))
    plans.push_back(std::move(bare));
  return plans;
}

}  // namespace caffe::cuda
