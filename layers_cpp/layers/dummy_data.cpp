// DummyData: tops of given shapes with values from fillers. Constant tops are filled once for a shape and
// then left alone; the others get new values in every forward, chosen by the net's seed, the layer, the top
// and the iteration.
#include "core/registry.hpp"
#include "layers/filler_list.hpp"
#include "layers/shape_list.hpp"

namespace caffe {
namespace {

class DummyDataLayer : public Layer {
 public:
  explicit DummyDataLayer(const Args& args) : shapes_(shape_list(args)), fillers_(filler_list(args)) {}

  std::vector<Shape> top_shapes(const std::vector<Shape>&) const override { return shapes_; }

  // Fills all tops once, as Caffe does, so that a filler that does not fit its top is found here.
  void reshape(const Blobs&, const Blobs& top) override {
    filled_.assign(top.size(), 0);
    for (size_t i = 0; i < top.size(); ++i) fill_top(i, *top[i], 0, 0);
  }

  void forward(const Context& context, const Blobs&, const Blobs& top) override {
    for (size_t i = 0; i < top.size(); ++i)
      if (fillers_[i].type != "constant" || filled_[i] != top[i]->shape_version())
        fill_top(i, *top[i], context.seed, context.iteration);
  }

  void backward(const Context&, const Blobs&, const std::vector<bool>&, const Blobs&) override {}

  size_t private_bytes(bool) const override { return staging_.shared_data()->bytes(); }

 private:
  void fill_top(size_t i, Blob& top, uint64_t seed, uint64_t iteration) {
    fill_logical(fillers_[i], top, staging_, seed, stream + (static_cast<uint64_t>(i) << 32), iteration);
    filled_[i] = top.shape_version();
  }

  const std::vector<Shape> shapes_;
  const std::vector<Filler> fillers_;  // one for each top
  std::vector<uint64_t> filled_;       // version of the shape each top was last filled for
  Blob staging_;
};

REGISTER_LAYER("DummyData", cpu, DummyDataLayer);

}  // namespace
}  // namespace caffe
