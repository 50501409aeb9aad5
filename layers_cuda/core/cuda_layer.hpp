// The CUDA twin of a CPU layer: the same arguments, shapes and results.
#pragma once

#include "core/registry.hpp"

namespace caffe::cuda {

// What the twins have in common. Shapes and words are asked of the CPU layer, so that each rule exists once.
class CudaLayer : public Layer {
 public:
  CudaLayer(const char* type, const Args& args) : twin_(create_layer(type, Device::cpu, args)) {}

  std::vector<Shape> top_shapes(const std::vector<Shape>& bottoms) const final {
    return twin_->top_shapes(bottoms);
  }
  std::vector<Shape> param_shapes(const std::vector<Shape>& bottoms) const final {
    return twin_->param_shapes(bottoms);
  }
  std::vector<Shape> state_shapes(const std::vector<Shape>& bottoms) const final {
    return twin_->state_shapes(bottoms);
  }
  bool has_backward() const final { return twin_->has_backward(); }
  std::string explain(const Complaint& complaint) const final { return twin_->explain(complaint); }
  Device device() const final { return Device::cuda; }

 private:
  const std::shared_ptr<Layer> twin_;
};

}  // namespace caffe::cuda
