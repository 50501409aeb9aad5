// Input: tops of given shapes, which the user fills. Forward and backward do nothing.
#include "core/registry.hpp"
#include "layers/shape_list.hpp"

namespace caffe {
namespace {

class InputLayer : public Layer {
 public:
  explicit InputLayer(const Args& args) : shapes_(shape_list(args)) {}

  std::vector<Shape> top_shapes(const std::vector<Shape>&) const override { return shapes_; }

  void forward(const Context&, const Blobs&, const Blobs&) override {}
  void backward(const Context&, const Blobs&, const std::vector<bool>&, const Blobs&) override {}

 private:
  const std::vector<Shape> shapes_;
};

REGISTER_LAYER("Input", cpu, InputLayer);

}  // namespace
}  // namespace caffe
