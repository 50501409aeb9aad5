// DummyData on the GPU; as layers_cpp/layers/dummy_data.cpp. Values are made by the CPU's fillers in the
// tops' copies in the host's memory, and sent from there.
#include <algorithm>

#include "core/cuda_layer.hpp"
#include "layers/filler_list.hpp"

namespace caffe::cuda {
namespace {

class DummyDataLayer : public CudaLayer {
 public:
  explicit DummyDataLayer(const Args& args) : CudaLayer("DummyData", args), fillers_(filler_list(args)) {}

  // Fills all tops once, as Caffe does, so that a filler that does not fit its top is found here.
  void reshape(const Blobs&, const Blobs& top) override {
    filled_.assign(top.size(), 0);
    for (size_t i = 0; i < top.size(); ++i) fill_top(i, *top[i], 0, 0);
  }

  void forward(const Context& context, const Blobs&, const Blobs& top) override {
    for (size_t i = 0; i < top.size(); ++i)
      if (!constant(fillers_[i]) || filled_[i] != top[i]->shape_version())
        fill_top(i, *top[i], context.seed, context.iteration);
  }

  void backward(const Context&, const Blobs&, const std::vector<bool>&, const Blobs&) override {}

  size_t private_bytes(bool) const override { return staging_.shared_data()->bytes(); }
  bool recordable() const override { return std::all_of(fillers_.begin(), fillers_.end(), constant); }

 private:
  static bool constant(const Filler& filler) { return filler.type == "constant"; }

  void fill_top(size_t i, Blob& top, uint64_t seed, uint64_t iteration) {
    Storage& storage = top.data_storage();
    const std::shared_ptr<void> memory = storage.host_memory();
    Blob host(top.dtype(), top.layout());  // the same values, as the fillers can reach them
    host.reshape(top.shape());
    host.data_storage().alias(memory.get(), storage.bytes(), memory);
    fill_logical(fillers_[i], host, staging_, seed, stream + (static_cast<uint64_t>(i) << 32), iteration);
    storage.host_wrote();
    storage.publish();
    filled_[i] = top.shape_version();
  }

  const std::vector<Filler> fillers_;  // one for each top
  std::vector<uint64_t> filled_;       // version of the shape each top was last filled for
  Blob staging_;                       // in the host's memory
};

REGISTER_LAYER("DummyData", cuda, DummyDataLayer);

}  // namespace
}  // namespace caffe::cuda
