// LSTM on the GPU; formulas, blobs and what is kept as in layers_cpp/layers/lstm.cpp.
//
// Each step is a matrix product and a kernel over its N x H units.
#include "core/accelerator.hpp"
#include "core/cuda_layer.hpp"
#include "core/launch.hpp"
#include "math/lstm_place.hpp"
#include "math/lstm_trace.hpp"
#include "math/recurrent_products.hpp"

namespace caffe::cuda {
namespace {

template <class T>
__global__ void lstm_start_kernel(int64_t count, int64_t units, const float* cont, const float* h,
                                  const float* c, T* conted, float* cells) {
  // cont: (N); h, c, conted, cells: (N, units), count values each
  const int64_t i = thread_number();
  if (i >= count) return;
  conted[i] = carried(cont[i / units], h[i]);
  cells[i] = c[i];
}

template <class T>
__global__ void lstm_forward_kernel(int64_t count, int64_t units, LstmStep<T> step, float* hidden, T* top) {
  // step: see LstmStep, H = units; hidden, top: (N, units), count values
  const int64_t i = thread_number();
  if (i >= count) return;
  const LstmPlace place(i, units);
  const LstmGates gates = place.opened(step.gates);
  const float cell = lstm_cell(gates, step.cont[place.item], step.before[i]);
  const float value = lstm_hidden(gates, cell);
  place.store(gates, step.gates);
  step.cells[i] = cell;
  hidden[i] = value;
  top[i] = value;
  step.next_conted[i] = carried(step.next_cont[place.item], value);
}

template <class T>
__global__ void lstm_backward_kernel(int64_t count, int64_t units, LstmStep<T> step, const T* d_top,
                                     const float* d_conted, float* d_cells, T* da) {
  // step: see LstmStep, H = units; d_top, d_conted, d_cells: (N, units), count values; da: (N, 4, units)
  const int64_t i = thread_number();
  if (i >= count) return;
  const LstmPlace place(i, units);
  const float d_hidden = static_cast<float>(d_top[i]) + carried(step.next_cont[place.item], d_conted[i]);
  const LstmGradient gradient = lstm_gradient(place.load(step.gates), step.cont[place.item], step.before[i],
                                              step.cells[i], d_hidden, d_cells[i]);
  place.store(gradient.gates, da);
  d_cells[i] = gradient.before;
}

class LSTMLayer : public CudaLayer {
 public:
  explicit LSTMLayer(const Args& args)
      : CudaLayer("LSTM", args),
        outputs_(args.integer("num_output")),
        exposed_(args.flag("expose_hidden")),
        tf32_(args.flag("tf32")) {}

  void reshape(const Blobs& bottom, const Blobs& top) override {
    const std::vector<Shape> shapes = shapes_of(bottom);
    sequence_ = Sequence(shapes, outputs_, {"h_0", "c_0"}, exposed_);
    require_params(param_shapes(shapes), params);
    reshape_state(state, state_shapes(shapes));
    if (sequence_.empty()) return;
    products_.create(sequence_, kGates * outputs_, top[0]->dtype(), tf32_, runs_backward, params);
    trace_.create(sequence_, top[0]->dtype(), runs_backward);
    if (runs_backward) kept_.reserve(trace_.bytes());
  }

  void forward(const Context& context, const Blobs& bottom, const Blobs& top) override {
    if (sequence_.empty()) return;
    dispatch(top[0]->dtype(), [&](auto zero) { run_forward<decltype(zero)>(context, bottom, top); });
  }

  void backward(const Context& context, const Blobs& top, const std::vector<bool>& propagate_down,
                const Blobs& bottom) override {
    for (size_t i = sequence_.first_hidden; i < bottom.size(); ++i)
      if (propagate_down[i]) accelerator().clear(bottom[i]->diff<void>(), bottom[i]->bytes());
    if (sequence_.empty()) return;
    dispatch(top[0]->dtype(),
             [&](auto zero) { run_backward<decltype(zero)>(context, top, propagate_down, bottom); });
  }

  size_t private_bytes(bool /*training*/) const override { return storages.bytes() + products_.bytes(); }
  size_t scratch_bytes() const override {
    if (sequence_.empty()) return 0;
    const size_t own = runs_backward ? trace_.gradient_bytes() + 2 * trace_.unit_bytes() : trace_.bytes();
    return own + products_.scratch_bytes();
  }

 private:
  template <class T>
  void run_forward(const Context& context, const Blobs& bottom, const Blobs& top) {
    Blob &h = exposed_ ? *top[1] : *state[0], &c = exposed_ ? *top[2] : *state[1];
    Blob& h_0 = exposed_ ? *bottom[sequence_.first_hidden] : h;
    Blob& c_0 = exposed_ ? *bottom[sequence_.first_hidden + 1] : c;
    const int64_t units = sequence_.units();
    const float *cont = bottom[1]->data(), *cells = nullptr;

    products_.prepare(context, params);
    Scratch scratch(context, 0);
    void* trace = runs_backward ? kept_.data() : scratch.take(trace_.bytes());
    const LstmStep<T> first = trace_.step<T>(trace, cont, 0);
    products_.start(context, scratch.used, bottom, params, first.gates);
    launch(context, "lstm_start", grid_for(units), lstm_start_kernel<T>, units, outputs_, cont, h_0.data(),
           c_0.data(), first.conted, first.before);
    for (int64_t t = 0; t < sequence_.steps; ++t) {
      const LstmStep<T> step = trace_.step<T>(trace, cont, t);
      products_.add_step(context, scratch.used, step.conted, step.gates);
      launch(context, "lstm_forward", grid_for(units), lstm_forward_kernel<T>, units, outputs_, step,
             h.data(), top[0]->data<T>() + t * units);
      cells = step.cells;
    }
    accelerator().copy(c.data(), cells, c.bytes());
  }

  template <class T>
  void run_backward(const Context& context, const Blobs& top, const std::vector<bool>& propagate_down,
                    const Blobs& bottom) {
    products_.prepare(context, params);
    Scratch scratch(context, 0);
    T* da = scratch.take<T>(trace_.gradient_bytes());
    auto* d_conted = scratch.take<float>(trace_.unit_bytes());
    auto* d_cells = scratch.take<float>(trace_.unit_bytes());
    accelerator().clear(d_conted, trace_.unit_bytes());
    accelerator().clear(d_cells, trace_.unit_bytes());

    const float* cont = bottom[1]->data();
    const int64_t units = sequence_.units();
    for (int64_t t = sequence_.steps; t-- > 0;) {
      const LstmStep<T> step = trace_.step<T>(kept_.data(), cont, t);
      T* da_t = da + t * kGates * units;
      launch(context, "lstm_backward", grid_for(units), lstm_backward_kernel<T>, units, outputs_, step,
             top[0]->diff<T>() + t * units, d_conted, d_cells, da_t);
      if (t > 0) products_.step_back(context, scratch.used, da_t, d_conted);
    }
    const T* conted = trace_.step<T>(kept_.data(), cont, 0).conted;
    products_.learn(context, scratch.used, bottom, da, conted, params, param_propagate_down, propagate_down);
  }

  const int64_t outputs_;
  const bool exposed_, tf32_;

  Sequence sequence_;
  RecurrentProducts products_;
  LstmTrace trace_;
  Owned kept_{storages, Device::cuda};
};

REGISTER_LAYER("LSTM", cuda, LSTMLayer);

}  // namespace
}  // namespace caffe::cuda
