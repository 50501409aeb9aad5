// The ways in which cuDNN can compute a convolution, and the one that is taken.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "math/cudnn_graph.hpp"

namespace caffe::cuda {

// The device that is planned for: the one the handle belongs to, or, without a handle, one that is only
// described; such plans cannot be executed.
struct PlanningDevice {
  cudnnHandle_t handle = nullptr;
  const Descriptor* properties = nullptr;
};

class Plan {
 public:
  // Builds one of the ways to compute the graph, of which `name` says which. Throws Unsupported if cuDNN
  // finds that it does not exist after all.
  Plan(std::shared_ptr<const Graph> graph, Descriptor config, std::string name, bool fused,
       const PlanningDevice& device);
  // Takes what to_text() has made of one, for the same device and version of cuDNN. Building compiles kernels
  // and takes up to a second, this a millisecond. Throws DeviceError if cuDNN does not understand it.
  Plan(const std::string& text, const PlanningDevice& device);
  std::string to_text() const;  // throws Unsupported if cuDNN cannot write it down

  void execute(cudnnHandle_t handle, const Pointers& pointers, void* workspace) const;
  size_t workspace_bytes() const { return workspace_bytes_; }
  // Whether it does all that the spec asks for; if not, all but the products is left to the caller.
  bool fused() const { return fused_; }
  // Tells the plans for one spec apart.
  const std::string& name() const { return name_; }

 private:
  void finalize(const PlanningDevice& device);

  std::shared_ptr<const Graph> graph_;  // null if it comes from a text
  std::optional<Descriptor> config_;
  Descriptor plan_{CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR};
  std::string name_;
  bool fused_;
  size_t workspace_bytes_ = 0;
};

// Plans for one pass of a convolution; none if cuDNN has no such kernel. Up to `at_most` that do all the spec
// asks for, those first that cuDNN thinks fastest, then as many that do the products only; but these only
// where they may be better. They compute in the precision that the spec asks for and give the same bits at
// every run; only if no kernel does, one that may not.
std::vector<Plan> make_plans(const ConvolutionSpec& spec, Pass pass, const PlanningDevice& device,
                             size_t at_most);

}  // namespace caffe::cuda
