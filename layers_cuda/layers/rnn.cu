// RNN on the GPU; formulas, blobs and what is kept as in layers_cpp/layers/rnn.cpp.
//
// Each step is a matrix product and two kernels over its N x H units.
#include "core/accelerator.hpp"
#include "core/cuda_layer.hpp"
#include "core/launch.hpp"
#include "math/carried.hpp"
#include "math/elementwise.hpp"
#include "math/recurrent_products.hpp"
#include "math/vector_math.hpp"

namespace caffe::cuda {
namespace {

struct Squash {
  __device__ float operator()(float y) const { return vector_tanh(y); }
};

struct SquashBack {
  __device__ float operator()(float y, float dy) const { return dy * (1.0f - y * y); }
};

extern "C" __global__ void rnn_carry_kernel(int64_t count, int64_t units, const float* cont, const float* h,
                                            float* to) {
  // cont: (N); h, to: (N, units), count values
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < count) to[i] = carried(cont[i / units], h[i]);
}

extern "C" __global__ void rnn_step_gradient_kernel(int64_t count, int64_t units, const float* cont,
                                                    const float* d_conted, const float* h, float* da) {
  // cont: (N); d_conted, h, da: (N, units), count values
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < count) da[i] = (da[i] + carried(cont[i / units], d_conted[i])) * (1.0f - h[i] * h[i]);
}

class RNNLayer : public CudaLayer {
 public:
  explicit RNNLayer(const Args& args)
      : CudaLayer("RNN", args),
        outputs_(args.integer("num_output")),
        exposed_(args.flag("expose_hidden")),
        tf32_(args.flag("tf32")) {}

  void reshape(const Blobs& bottom, const Blobs&) override {
    const std::vector<Shape> shapes = shapes_of(bottom);
    sequence_ = Sequence(shapes, outputs_, {"h_0"}, exposed_);
    require_params(param_shapes(shapes), params);
    reshape_state(state, state_shapes(shapes));
    if (sequence_.empty()) return;
    inner_params_ = Blobs(params.begin(), params.end() - 2);
    products_.create(sequence_, outputs_, DType::float32, tf32_, runs_backward, inner_params_);
    const int64_t rows = sequence_.rows();
    output_ = make_matrix_product(
        {.m = rows, .n = outputs_, .k = outputs_, .transpose_b = true, .tf32 = tf32_, .bias = true});
    if (!runs_backward) return;
    output_back_ = make_matrix_product({.m = rows, .n = outputs_, .k = outputs_, .tf32 = tf32_});
    learn_output_.create(outputs_, outputs_, rows, DType::float32, tf32_);
    bias_gradient_.create(rows, outputs_, DType::float32);
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
    float* y = top[0]->data();
    output_->run(context, scratch.used, hidden, weights.data(), bias.data(), y);
    squash(context, y, top[0]->count());
  }

  void backward(const Context& context, const Blobs& top, const std::vector<bool>& propagate_down,
                const Blobs& bottom) override {
    for (size_t i = sequence_.first_hidden; i < bottom.size(); ++i)
      if (propagate_down[i]) accelerator().clear(bottom[i]->diff<void>(), bottom[i]->bytes());
    if (sequence_.empty()) return;
    products_.prepare(context, inner_params_);
    Scratch scratch(context, 0);
    auto *p = scratch.take<float>(all_bytes()), *da = scratch.take<float>(all_bytes());
    auto* d_conted = scratch.take<float>(step_bytes());
    const auto *hidden = static_cast<const float*>(hidden_.data()),
               *conted = static_cast<const float*>(conted_.data());
    const float *y = top[0]->data(), *dy = top[0]->diff();
    elementwise(context, "rnn_squash_back", SquashBack{}, top[0]->count(), p, y, dy);
    learn_output(context, scratch.used, p, hidden);
    output_back_->run(context, scratch.used, p, params[params.size() - 2]->data(), nullptr, da);
    run_back(context, scratch.used, bottom[1]->data(), hidden, da, d_conted);
    products_.learn(context, scratch.used, bottom, da, conted, inner_params_, inner_flags(), propagate_down);
  }

  size_t private_bytes(bool /*training*/) const override { return storages.bytes() + products_.bytes(); }
  size_t scratch_bytes() const override {
    if (sequence_.empty()) return 0;
    size_t most = std::max({products_.scratch_bytes(), output_->scratch_bytes(),
                            bias_gradient_.scratch_bytes(), learn_output_.scratch_bytes()});
    if (output_back_) most = std::max(most, output_back_->scratch_bytes());
    return (runs_backward ? 2 : 1) * all_bytes() + step_bytes() + most;
  }

 private:
  size_t bytes_of(int64_t values) const { return scratch_size(static_cast<size_t>(values) * sizeof(float)); }
  size_t step_bytes() const { return bytes_of(sequence_.units()); }
  size_t all_bytes() const { return bytes_of(sequence_.steps * sequence_.units()); }

  static void squash(const Context& context, float* y, int64_t count) {
    const float* made_of = y;
    elementwise(context, "rnn_squash", Squash{}, count, y, made_of);
  }

  // All h_t, and cont_t h_{t-1} if they are kept, one after the other in one place if not.
  void run_steps(const Context& context, size_t used, const Blobs& bottom, float* hidden, float* conted,
                 Blob& carried_on) {
    const int64_t units = sequence_.units();
    const float *cont = bottom[1]->data(),
                *before = exposed_ ? bottom[sequence_.first_hidden]->data() : carried_on.data();
    products_.start(context, used, bottom, inner_params_, hidden);
    for (int64_t t = 0; t < sequence_.steps; ++t, cont += sequence_.items) {
      float *h = hidden + t * units, *own = conted + (runs_backward ? t * units : 0);
      launch(context, "rnn_carry", grid_for(units), rnn_carry_kernel, units, outputs_, cont, before, own);
      products_.add_step(context, used, own, h);
      squash(context, h, units);
      before = h;
    }
    accelerator().copy(carried_on.data(), before, carried_on.bytes());
  }

  void run_back(const Context& context, size_t used, const float* cont, const float* hidden, float* da,
                float* d_conted) {
    const int64_t units = sequence_.units(), items = sequence_.items;
    accelerator().clear(d_conted, step_bytes());
    for (int64_t t = sequence_.steps; t-- > 0;) {
      const float* next = cont + std::min(t + 1, sequence_.steps - 1) * items;
      launch(context, "rnn_step_gradient", grid_for(units), rnn_step_gradient_kernel, units, outputs_, next,
             d_conted, hidden + t * units, da + t * units);
      if (t > 0) products_.step_back(context, used, da + t * units, d_conted);
    }
  }

  void learn_output(const Context& context, size_t used, const float* p, const float* hidden) {
    const size_t bias = params.size() - 1;
    if (param_propagate_down[bias - 1]) learn_output_.run(context, used, p, hidden, *params[bias - 1]);
    if (param_propagate_down[bias]) bias_gradient_.sum(context, used, p, *params[bias]);
  }

  std::vector<bool> inner_flags() const {
    return {param_propagate_down.begin(), param_propagate_down.end() - 2};
  }

  const int64_t outputs_;
  const bool exposed_, tf32_;

  Sequence sequence_;
  Blobs inner_params_;  // without those of the output
  RecurrentProducts products_;
  std::unique_ptr<MatrixProduct> output_, output_back_;
  GradientProduct learn_output_;
  BiasGradient bias_gradient_;
  Owned hidden_{storages, Device::cuda}, conted_{storages, Device::cuda};  // (T, N, H) each
};

REGISTER_LAYER("RNN", cuda, RNNLayer);

}  // namespace
}  // namespace caffe::cuda
