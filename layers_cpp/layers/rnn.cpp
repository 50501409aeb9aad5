// RNN, a plain recurrent layer over a batch of sequences, as one loop over the steps:
//
//   h_t = tanh(W_x x_t + b_h [+ W_static x_static] + W_h (cont_t h_{t-1})),  o_t = tanh(W_o h_t + b_o)
//
// x: (T, N, I), cont: (T, N), x_static: (N, S), top o: (T, N, H); W_x: (H, I), b_h: (H), W_static: (H, S),
// W_h, W_o: (H, H), b_o: (H). h_0 is the state, which h_T becomes, or with `expose_hidden` the last bottom,
// and h_T a top; (1, N, H) both. float32 all of them.
//
// Gradients, from p_t = do_t (1 - o_t^2):
//
//   dW_o += sum p_t^T h_t,  db_o += sum p_t
//   da_t = (p_t W_o + cont_{t+1} da_{t+1} W_h) (1 - h_t^2), and the rest as in math/recurrent_products.hpp
//
// Through time they end with the batch: h_0 gets none (zero, if asked for), that of h_T is not read. For them
// h_t and cont_t h_{t-1} of all steps are kept.
#include <algorithm>

#include "core/registry.hpp"
#include "core/scratch.hpp"
#include "math/carried.hpp"
#include "math/column_sums.hpp"
#include "math/recurrent_products.hpp"
#include "math/units.hpp"
#include "math/vector_math.hpp"

namespace caffe {
namespace {

// y = tanh(y)
void squash(float* y, int64_t count) {
  parallel_for(count, kElementwiseGrain / 8, [=](int64_t begin, int64_t end, int) {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) y[i] = vector_tanh(y[i]);
  });
}

// p = dy (1 - y^2)
void squash_back(const float* y, const float* dy, float* p, int64_t count) {
  parallel_for(count, kElementwiseGrain, [=](int64_t begin, int64_t end, int) {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) p[i] = dy[i] * (1.0f - y[i] * y[i]);
  });
}

// to (N, H) = cont_n h, nothing where cont is 0.
void carry(const Sequence& sequence, const float* cont, const float* h, float* to) {
  const int64_t units = sequence.outputs;
  for_each_unit(sequence.items, units, [=](int64_t n, int64_t begin, int64_t end) {
    const float factor = cont[n];
#pragma omp simd
    for (int64_t i = n * units + begin; i < n * units + end; ++i) to[i] = carried(factor, h[i]);
  });
}

// da = (da + cont_n d_conted) (1 - h^2), where da is the gradient of h by the output.
void step_gradient(const Sequence& sequence, const float* cont, const float* d_conted, const float* h,
                   float* da) {
  const int64_t units = sequence.outputs;
  for_each_unit(sequence.items, units, [=](int64_t n, int64_t begin, int64_t end) {
    const float factor = cont[n];
#pragma omp simd
    for (int64_t i = n * units + begin; i < n * units + end; ++i)
      da[i] = (da[i] + carried(factor, d_conted[i])) * (1.0f - h[i] * h[i]);
  });
}

class RNNLayer : public Layer {
 public:
  explicit RNNLayer(const Args& args)
      : outputs_(args.integer("num_output")), exposed_(args.flag("expose_hidden")) {}

  std::vector<Shape> top_shapes(const std::vector<Shape>& bottoms) const override {
    const Sequence sequence = sequence_of(bottoms);
    count(sequence.top_shape());
    if (exposed_) return {sequence.top_shape(), sequence.hidden_shape()};
    return {sequence.top_shape()};
  }

  std::vector<Shape> param_shapes(const std::vector<Shape>& bottoms) const override {
    std::vector<Shape> shapes = recurrent_param_shapes(sequence_of(bottoms), outputs_);
    shapes.insert(shapes.end(), {{outputs_, outputs_}, {outputs_}});
    return shapes;
  }

  std::vector<Shape> state_shapes(const std::vector<Shape>& bottoms) const override {
    if (exposed_) return {};
    return {sequence_of(bottoms).hidden_shape()};
  }

  void reshape(const Blobs& bottom, const Blobs&) override {
    const std::vector<Shape> shapes = shapes_of(bottom);
    sequence_ = sequence_of(shapes);
    require_params(param_shapes(shapes), params);
    reshape_state(state, state_shapes(shapes));
    if (sequence_.empty()) return;
    inner_params_ = Blobs(params.begin(), params.end() - 2);
    products_.create(sequence_, outputs_, DType::float32, runs_backward);
    const int64_t rows = sequence_.rows();
    output_.create({.m = rows, .n = outputs_, .k = outputs_, .transpose_b = true, .bias = true});
    if (!runs_backward) return;
    output_back_.create({.m = rows, .n = outputs_, .k = outputs_});
    learn_output_.create(outputs_, outputs_, rows, DType::float32);
    hidden_.reserve(all_bytes());
    conted_.reserve(all_bytes());
  }

  void forward(const Context& context, const Blobs& bottom, const Blobs& top) override {
    if (sequence_.empty()) return;
    products_.prepare(context, inner_params_);
    Scratch scratch(context, 0);
    auto* hidden = runs_backward ? static_cast<float*>(hidden_.data()) : scratch.take<float>(all_bytes());
    auto* conted = runs_backward ? static_cast<float*>(conted_.data()) : scratch.take<float>(step_bytes());
    Blob& carried_on = exposed_ ? *top[1] : *state[0];
    run_steps(context, scratch.used, bottom, hidden, conted, carried_on);
    Blob &weights = *params[params.size() - 2], &bias = *params.back();
    output_.run(context, scratch.used, hidden, weights.data(), bias.data(), top[0]->data());
    squash(top[0]->data(), top[0]->count());
  }

  void backward(const Context& context, const Blobs& top, const std::vector<bool>& propagate_down,
                const Blobs& bottom) override {
    for (size_t i = sequence_.first_hidden; i < bottom.size(); ++i)
      if (propagate_down[i]) std::fill_n(bottom[i]->diff(), bottom[i]->count(), 0.0f);
    if (sequence_.empty()) return;
    products_.prepare_back(context, inner_params_);
    Scratch scratch(context, 0);
    auto *p = scratch.take<float>(all_bytes()), *da = scratch.take<float>(all_bytes());
    auto* d_conted = scratch.take<float>(step_bytes());
    const auto *hidden = static_cast<const float*>(hidden_.data()),
               *conted = static_cast<const float*>(conted_.data());
    squash_back(top[0]->data(), top[0]->diff(), p, top[0]->count());
    learn_output(context, scratch.used, p, hidden);
    output_back_.run(context, scratch.used, p, params[params.size() - 2]->data(), nullptr, da);
    run_back(context, scratch.used, bottom[1]->data(), hidden, da, d_conted);
    products_.learn(context, scratch.used, bottom, da, conted, inner_params_, inner_flags(), propagate_down);
  }

  size_t private_bytes(bool /*training*/) const override { return storages.bytes() + products_.bytes(); }
  size_t scratch_bytes() const override {
    if (sequence_.empty()) return 0;
    return (runs_backward ? 2 : 1) * all_bytes() + step_bytes() +
           std::max({products_.scratch_bytes(), output_.scratch_bytes(), output_back_.scratch_bytes(),
                     learn_output_.scratch_bytes()});
  }

 private:
  Sequence sequence_of(const std::vector<Shape>& bottoms) const {
    return {bottoms, outputs_, {"h_0"}, exposed_};
  }

  size_t bytes_of(int64_t values) const { return scratch_size(static_cast<size_t>(values) * sizeof(float)); }
  size_t step_bytes() const { return bytes_of(sequence_.units()); }
  size_t all_bytes() const { return bytes_of(sequence_.steps * sequence_.units()); }

  // All h_t, and cont_t h_{t-1} if they are kept, one after the other in one place if not.
  void run_steps(const Context& context, size_t used, const Blobs& bottom, float* hidden, float* conted,
                 Blob& carried_on) {
    const int64_t units = sequence_.units();
    const float *cont = bottom[1]->data(),
                *before = exposed_ ? bottom[sequence_.first_hidden]->data() : carried_on.data();
    products_.start(context, used, bottom, inner_params_, hidden);
    for (int64_t t = 0; t < sequence_.steps; ++t, cont += sequence_.items) {
      float *h = hidden + t * units, *own = conted + (runs_backward ? t * units : 0);
      carry(sequence_, cont, before, own);
      products_.add_step(context, used, cont, own, h);
      squash(h, units);
      before = h;
    }
    std::copy_n(before, units, carried_on.data());
  }

  void run_back(const Context& context, size_t used, const float* cont, const float* hidden, float* da,
                float* d_conted) {
    const int64_t units = sequence_.units(), items = sequence_.items;
    std::fill_n(d_conted, units, 0.0f);
    for (int64_t t = sequence_.steps; t-- > 0;) {
      const float* next = cont + std::min(t + 1, sequence_.steps - 1) * items;
      step_gradient(sequence_, next, d_conted, hidden + t * units, da + t * units);
      if (t > 0) products_.step_back(context, used, cont + t * items, da + t * units, d_conted);
    }
  }

  void learn_output(const Context& context, size_t used, const float* p, const float* hidden) {
    const size_t bias = params.size() - 1;
    if (param_propagate_down[bias - 1]) learn_output_.run(context, used, p, hidden, *params[bias - 1]);
    if (param_propagate_down[bias]) add_column_sums(p, params[bias]->diff(), sequence_.rows(), outputs_);
  }

  std::vector<bool> inner_flags() const {
    return {param_propagate_down.begin(), param_propagate_down.end() - 2};
  }

  const int64_t outputs_;
  const bool exposed_;

  Sequence sequence_;
  Blobs inner_params_;  // without those of the output
  RecurrentProducts products_;
  MatrixProduct output_, output_back_;
  GradientProduct learn_output_;
  Owned hidden_{storages}, conted_{storages};  // (T, N, H) each
};

REGISTER_LAYER("RNN", cpu, RNNLayer);

}  // namespace
}  // namespace caffe
