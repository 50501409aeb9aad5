// LSTM over a batch of sequences, as one loop over the steps:
//
//   (a_i, a_f, a_o, a_g)_t = W_x x_t + b [+ W_static x_static] + W_h (cont_t h_{t-1})
//   i = s(a_i), f = s(a_f), o = s(a_o), g = tanh(a_g),  s(a) = 1 / (1 + e^-a)
//   c_t = cont_t f c_{t-1} + i g,  h_t = o tanh(c_t)
//
// x: (T, N, I), cont: (T, N), x_static: (N, S), top h: (T, N, H); W_x: (4H, I), b: (4H), W_static: (4H, S),
// W_h: (4H, H). h_0 and c_0 are the state, which h_T and c_T become, or with `expose_hidden` the last two
// bottoms, and h_T and c_T are tops; (1, N, H) each, and float32 as cont and x_static are.
//
// Gradients as in math/lstm_cell.hpp and math/recurrent_products.hpp; through time they end with the batch:
// h_0 and c_0 get none (zero, if asked for), those of h_T and c_T are not read. For them the gates, the cells
// and cont_t h_{t-1} of all steps are kept.
#include <algorithm>

#include "core/registry.hpp"
#include "math/lstm_trace.hpp"
#include "math/recurrent_products.hpp"
#include "math/units.hpp"

namespace caffe {
namespace {

// cont_1 h_0, and c_0 in its place.
template <class T>
void start_sequence(const Sequence& sequence, const LstmStep<T>& first, const float* h, const float* c) {
  for_each_unit(sequence.items, sequence.outputs, [=](int64_t n, int64_t begin, int64_t end) {
    const int64_t row = n * sequence.outputs;
    for (int64_t k = row + begin; k < row + end; ++k) {
      first.conted[k] = carried(first.cont[n], h[k]);
      first.before[k] = c[k];
    }
  });
}

// The units of a step from what their gates are made of; h_t goes to `hidden`, and as top.
template <class T>
void forward_step(const Sequence& sequence, const LstmStep<T>& step, float* hidden, T* top) {
  const int64_t units = sequence.outputs;
  for_each_unit(sequence.items, sequence.outputs, [=](int64_t n, int64_t begin, int64_t end) {
    float *i = step.gates + n * kGates * units, *f = i + units, *o = f + units, *g = o + units;
    const float *before = step.before + n * units, cont = step.cont[n], next_cont = step.next_cont[n];
    float *cells = step.cells + n * units, *h = hidden + n * units;
    T *y = top + n * units, *conted = step.next_conted + n * units;
#pragma omp simd
    for (int64_t k = begin; k < end; ++k) {
      const LstmGates gates = lstm_gates(i[k], f[k], o[k], g[k]);
      const float cell = lstm_cell(gates, cont, before[k]), value = lstm_hidden(gates, cell);
      i[k] = gates.i;
      f[k] = gates.f;
      o[k] = gates.o;
      g[k] = gates.g;
      cells[k] = cell;
      h[k] = value;
      y[k] = value;
      conted[k] = carried(next_cont, value);
    }
  });
}

// The gradient `da` (N, 4H) of what the gates are made of, from those of h_t as top and of cont_{t+1} h_t;
// that of c_t becomes that of c_{t-1}.
template <class T>
void backward_step(const Sequence& sequence, const LstmStep<T>& step, const T* d_top, const float* d_conted,
                   float* d_cells, T* da) {
  const int64_t units = sequence.outputs;
  for_each_unit(sequence.items, sequence.outputs, [=](int64_t n, int64_t begin, int64_t end) {
    const float *i = step.gates + n * kGates * units, *f = i + units, *o = f + units, *g = o + units;
    const float *before = step.before + n * units, *cells = step.cells + n * units;
    const float cont = step.cont[n], next_cont = step.next_cont[n];
    const T* dy = d_top + n * units;
    const float* d_next = d_conted + n * units;
    float* d_cell = d_cells + n * units;
    T *da_i = da + n * kGates * units, *da_f = da_i + units, *da_o = da_f + units, *da_g = da_o + units;
#pragma omp simd
    for (int64_t k = begin; k < end; ++k) {
      const float d_hidden = static_cast<float>(dy[k]) + carried(next_cont, d_next[k]);
      const LstmGradient gradient =
          lstm_gradient({i[k], f[k], o[k], g[k]}, cont, before[k], cells[k], d_hidden, d_cell[k]);
      da_i[k] = gradient.gates.i;
      da_f[k] = gradient.gates.f;
      da_o[k] = gradient.gates.o;
      da_g[k] = gradient.gates.g;
      d_cell[k] = gradient.before;
    }
  });
}

class LSTMLayer : public Layer {
 public:
  explicit LSTMLayer(const Args& args)
      : outputs_(args.integer("num_output")), exposed_(args.flag("expose_hidden")) {}

  std::vector<Shape> top_shapes(const std::vector<Shape>& bottoms) const override {
    const Sequence sequence = sequence_of(bottoms);
    const Shape top = sequence.top_shape(), hidden = sequence.hidden_shape();
    count({sequence.steps, sequence.items, kGates * outputs_});
    if (exposed_) return {top, hidden, hidden};
    return {top};
  }

  std::vector<Shape> param_shapes(const std::vector<Shape>& bottoms) const override {
    return recurrent_param_shapes(sequence_of(bottoms), kGates * outputs_);
  }

  std::vector<Shape> state_shapes(const std::vector<Shape>& bottoms) const override {
    if (exposed_) return {};
    const Shape hidden = sequence_of(bottoms).hidden_shape();
    return {hidden, hidden};
  }

  void reshape(const Blobs& bottom, const Blobs& top) override {
    const std::vector<Shape> shapes = shapes_of(bottom);
    sequence_ = sequence_of(shapes);
    require_params(param_shapes(shapes), params);
    reshape_state(state, state_shapes(shapes));
    if (sequence_.empty()) return;
    products_.create(sequence_, kGates * outputs_, top[0]->dtype(), runs_backward);
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
      if (propagate_down[i]) std::fill_n(bottom[i]->diff(), bottom[i]->count(), 0.0f);
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
  Sequence sequence_of(const std::vector<Shape>& bottoms) const {
    return {bottoms, outputs_, {"h_0", "c_0"}, exposed_};
  }

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
    start_sequence(sequence_, first, h_0.data(), c_0.data());
    for (int64_t t = 0; t < sequence_.steps; ++t) {
      const LstmStep<T> step = trace_.step<T>(trace, cont, t);
      products_.add_step(context, scratch.used, step.cont, step.conted, step.gates);
      forward_step(sequence_, step, h.data(), top[0]->data<T>() + t * units);
      cells = step.cells;
    }
    std::copy_n(cells, units, c.data());
  }

  template <class T>
  void run_backward(const Context& context, const Blobs& top, const std::vector<bool>& propagate_down,
                    const Blobs& bottom) {
    products_.prepare_back(context, params);
    Scratch scratch(context, 0);
    T* da = scratch.take<T>(trace_.gradient_bytes());
    auto* d_conted = scratch.take<float>(trace_.unit_bytes());
    auto* d_cells = scratch.take<float>(trace_.unit_bytes());
    const int64_t units = sequence_.units();
    std::fill_n(d_conted, units, 0.0f);
    std::fill_n(d_cells, units, 0.0f);

    const float* cont = bottom[1]->data();
    for (int64_t t = sequence_.steps; t-- > 0;) {
      const LstmStep<T> step = trace_.step<T>(kept_.data(), cont, t);
      T* da_t = da + t * kGates * units;
      backward_step(sequence_, step, top[0]->diff<T>() + t * units, d_conted, d_cells, da_t);
      if (t > 0) products_.step_back(context, scratch.used, step.cont, da_t, d_conted);
    }
    const T* conted = trace_.step<T>(kept_.data(), cont, 0).conted;
    products_.learn(context, scratch.used, bottom, da, conted, params, param_propagate_down, propagate_down);
  }

  const int64_t outputs_;
  const bool exposed_;

  Sequence sequence_;
  RecurrentProducts products_;
  LstmTrace trace_;
  Owned kept_{storages};
};

REGISTER_LAYER("LSTM", cpu, LSTMLayer);

}  // namespace
}  // namespace caffe
