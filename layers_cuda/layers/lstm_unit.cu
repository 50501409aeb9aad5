// LSTMUnit on the GPU; formulas as in layers_cpp/layers/lstm_unit.cpp.
#include "core/cuda_layer.hpp"
#include "core/launch.hpp"
#include "math/lstm_place.hpp"

namespace caffe::cuda {
namespace {

extern "C" __global__ void lstm_unit_forward_kernel(int64_t count, int64_t units, const float* before,
                                                    const float* gates, const float* cont, float* cells,
                                                    float* hidden) {
  // before, cells, hidden: (N, units), count values; gates: (N, 4, units); cont: (N)
  const int64_t i = thread_number();
  if (i >= count) return;
  const LstmPlace place(i, units);
  const LstmGates open = place.opened(gates);
  const float cell = lstm_cell(open, cont[place.item], before[i]);
  cells[i] = cell;
  hidden[i] = lstm_hidden(open, cell);
}

extern "C" __global__ void lstm_unit_backward_kernel(int64_t count, int64_t units, const float* before,
                                                     const float* gates, const float* cont,
                                                     const float* cells, const float* d_cells,
                                                     const float* d_hidden, float* d_before, float* da) {
  // gates, da: (N, 4, units); cont: (N); all others: (N, units), count values; d_before, da may be null
  const int64_t i = thread_number();
  if (i >= count) return;
  const LstmPlace place(i, units);
  const LstmGradient gradient =
      lstm_gradient(place.opened(gates), cont[place.item], before[i], cells[i], d_hidden[i], d_cells[i]);
  if (da) place.store(gradient.gates, da);
  if (d_before) d_before[i] = gradient.before;
}

class LSTMUnitLayer : public CudaLayer {
 public:
  explicit LSTMUnitLayer(const Args& args) : CudaLayer("LSTMUnit", args) {}

  void forward(const Context& context, const Blobs& bottom, const Blobs& top) override {
    launch(context, "lstm_unit_forward", grid_for(top[0]->count()), lstm_unit_forward_kernel, top[0]->count(),
           top[0]->dim(2), bottom[0]->data(), bottom[1]->data(), bottom[2]->data(), top[0]->data(),
           top[1]->data());
  }

  void backward(const Context& context, const Blobs& top, const std::vector<bool>& propagate_down,
                const Blobs& bottom) override {
    launch(context, "lstm_unit_backward", grid_for(top[0]->count()), lstm_unit_backward_kernel,
           top[0]->count(), top[0]->dim(2), bottom[0]->data(), bottom[1]->data(), bottom[2]->data(),
           top[0]->data(), top[0]->diff(), top[1]->diff(), propagate_down[0] ? bottom[0]->diff() : nullptr,
           propagate_down[1] ? bottom[1]->diff() : nullptr);
  }
};

REGISTER_LAYER("LSTMUnit", cuda, LSTMUnitLayer);

}  // namespace
}  // namespace caffe::cuda
