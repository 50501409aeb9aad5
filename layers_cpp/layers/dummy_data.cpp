// DummyData: tops of given shapes with values from fillers. Constant tops are filled once for a shape and
// then left alone; the others get new values in every forward, chosen by the net's seed, the layer, the top
// and the iteration.
#include <iterator>
#include <sstream>

#include "core/registry.hpp"
#include "layers/shape_list.hpp"
#include "math/channels_last.hpp"
#include "math/filler.hpp"

namespace caffe {
namespace {

std::vector<std::string> words(const std::string& text) {
  std::istringstream stream(text);
  return {std::istream_iterator<std::string>(stream), {}};
}

std::vector<Filler> filler_list(const Args& args) {
  const auto types = words(args.text("types")), norms = words(args.text("variance_norms"));
  const auto value = args.reals("value"), min = args.reals("min"), max = args.reals("max");
  const auto mean = args.reals("mean"), std = args.reals("std");
  const auto sparse = args.integers("sparse");
  std::vector<Filler> fillers;
  for (size_t i = 0; i < types.size(); ++i)
    fillers.push_back({types[i], value[i], min[i], max[i], mean[i], std[i], sparse[i], norms[i]});
  return fillers;
}

class DummyDataLayer : public Layer {
 public:
  explicit DummyDataLayer(const Args& args) : shapes_(shape_list(args)), fillers_(filler_list(args)) {}

  std::vector<Shape> top_shapes(const std::vector<Shape>&) const override { return shapes_; }

  // Fills all tops once, as Caffe does, so that a filler that does not fit its top is found here.
  void reshape(const Blobs&, const Blobs& top) override {
    filled_.assign(top.size(), 0);
    staging_bytes_ = 0;
    for (size_t i = 0; i < top.size(); ++i) fill_top(i, *top[i], 0, 0);
  }

  void forward(const Context& context, const Blobs&, const Blobs& top) override {
    for (size_t i = 0; i < top.size(); ++i)
      if (fillers_[i].type != "constant" || filled_[i] != top[i]->shape_version())
        fill_top(i, *top[i], context.seed, context.iteration);
  }

  void backward(const Context&, const Blobs&, const std::vector<bool>&, const Blobs&) override {}

  size_t private_bytes(bool) const override { return staging_bytes_; }

 private:
  // What a value is must not depend on the layout, and fillers write plain blobs.
  void fill_top(size_t i, Blob& top, uint64_t seed, uint64_t iteration) {
    const uint64_t top_stream = stream + (static_cast<uint64_t>(i) << 32);
    const bool direct = top.layout() == Layout::plain || fillers_[i].type == "constant";
    if (!direct) staging_.reshape(top.shape());
    fill(fillers_[i], direct ? top : staging_, seed, top_stream, iteration);
    if (!direct) {
      copy_to_channels_last(staging_.data(), top.data(), top.shape());
      staging_bytes_ = std::max(staging_bytes_, staging_.bytes());
    }
    filled_[i] = top.shape_version();
  }

  const std::vector<Shape> shapes_;
  const std::vector<Filler> fillers_;  // one for each top
  std::vector<uint64_t> filled_;       // version of the shape each top was last filled for
  Blob staging_;
  size_t staging_bytes_ = 0;
};

REGISTER_LAYER("DummyData", cpu, DummyDataLayer);

}  // namespace
}  // namespace caffe
