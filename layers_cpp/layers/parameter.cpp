// Parameter: a learned blob w as a top, for layers that read from a bottom what they would learn themselves.
//
// y = w, in the same memory. Gradient: dw += dy; where backward never runs, whoever writes dy writes dw, as
// in Caffe.
#include "core/parallel.hpp"
#include "core/registry.hpp"
#include "math/elementwise.hpp"

namespace caffe {
namespace {

class ParameterLayer : public Layer {
 public:
  explicit ParameterLayer(const Args& args) : shape_(args.integers("shape")) {}

  std::vector<Shape> top_shapes(const std::vector<Shape>&) const override { return {shape_}; }
  std::vector<Shape> param_shapes(const std::vector<Shape>&) const override { return {shape_}; }

  void reshape(const Blobs&, const Blobs& top) override {
    top[0]->share_data(*params[0]);
    if (!runs_backward) top[0]->share_diff(*params[0]);
  }

  void forward(const Context&, const Blobs&, const Blobs&) override {}

  void backward(const Context&, const Blobs& top, const std::vector<bool>&, const Blobs&) override {
    if (!param_propagate_down[0]) return;
    const float* dy = top[0]->diff();
    float* sum = params[0]->diff();
    parallel_for(params[0]->count(), kElementwiseGrain,
                 [=](int64_t begin, int64_t end, int) { add_to(sum + begin, dy + begin, end - begin); });
  }

 private:
  const Shape shape_;
};

REGISTER_LAYER("Parameter", cpu, ParameterLayer);

}  // namespace
}  // namespace caffe
