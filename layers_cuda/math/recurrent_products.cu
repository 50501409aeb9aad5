#include <algorithm>

#include "math/recurrent_products.hpp"

namespace caffe::cuda {
namespace {

__global__ void add_to_steps_kernel(int64_t count, int64_t size, const float* once, float* steps) {
  // once: (size); steps: (T, size), count values together
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < count) steps[i] += once[i % size];
}

template <class T>
__global__ void sum_steps_kernel(int64_t count, int64_t size, const T* steps, float* sums) {
  // steps: (count, size); sums: (size)
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= size) return;
  float sum = 0;
  for (int64_t t = 0; t < count; ++t) sum += static_cast<float>(steps[t * size + i]);
  sums[i] = sum;
}

}  // namespace

void RecurrentProducts::create(const Sequence& sequence, int64_t sums, DType type, bool tf32, bool learns,
                               const Blobs& params) {
  sequence_ = sequence;
  sums_ = sums;
  type_ = type;
  input_weights_.create(*params[0], type);
  hidden_weights_.create(*params.back(), type);
  input_ = make_matrix_product({.m = sequence.rows(),
                                .n = sums,
                                .k = sequence.inputs,
                                .transpose_b = true,
                                .factors = type,
                                .tf32 = tf32,
                                .bias = true});
  hidden_ = make_matrix_product({.m = sequence.items,
                                 .n = sums,
                                 .k = sequence.outputs,
                                 .transpose_b = true,
                                 .factors = type,
                                 .tf32 = tf32,
                                 .accumulate = true,
                                 .alignment = step_alignment()});
  if (sequence.has_static())
    static_ = make_matrix_product(
        {.m = sequence.items, .n = sums, .k = sequence.statics, .transpose_b = true, .tf32 = tf32});
  if (learns) create_back(tf32);
}

void RecurrentProducts::create_back(bool tf32) {
  const int64_t rows = sequence_.rows(), items = sequence_.items;
  input_back_ = make_matrix_product(
      {.m = rows, .n = sequence_.inputs, .k = sums_, .factors = type_, .product = type_, .tf32 = tf32});
  hidden_back_ = make_matrix_product({.m = items,
                                      .n = sequence_.outputs,
                                      .k = sums_,
                                      .factors = type_,
                                      .tf32 = tf32,
                                      .alignment = step_alignment()});
  learn_input_.create(sums_, sequence_.inputs, rows, type_, tf32);
  learn_hidden_.create(sums_, sequence_.outputs, rows, type_, tf32);
  bias_gradient_.create(rows, sums_, type_);
  if (!sequence_.has_static()) return;
  static_back_ = make_matrix_product({.m = items, .n = sequence_.statics, .k = sums_, .tf32 = tf32});
  learn_static_.create(sums_, sequence_.statics, items, DType::float32, tf32);
}

// Of the arrays of one step, which lie one behind the other.
uint32_t RecurrentProducts::step_alignment() const {
  const auto bytes = static_cast<uint64_t>(sequence_.units()) * size_of(type_);
  return static_cast<uint32_t>(std::min<uint64_t>(16, bytes & -bytes));
}

void RecurrentProducts::prepare(const Context& context, const Blobs& params) {
  input_now_ = input_weights_.get(context, *params[0]);
  hidden_now_ = hidden_weights_.get(context, *params.back());
}

void RecurrentProducts::start(const Context& context, size_t used, const Blobs& bottom, const Blobs& params,
                              float* a) {
  input_->run(context, used, bottom[0]->data<void>(), input_now_, params[1]->data(), a);
  if (sequence_.has_static()) add_static(context, used, *bottom[2], *params[2], a);
}

void RecurrentProducts::add_static(const Context& context, size_t used, Blob& x_static, Blob& weights,
                                   float* a) {
  Scratch scratch(context, used);
  auto* once = scratch.take<float>(static_bytes());
  static_->run(context, scratch.used, x_static.data(), weights.data(), nullptr, once);
  const int64_t size = sequence_.items * sums_, count = sequence_.steps * size;
  launch(context, "add_to_steps", grid_for(count), add_to_steps_kernel, count, size, once, a);
}

void RecurrentProducts::add_step(const Context& context, size_t used, const void* conted, float* a) {
  hidden_->run(context, used, conted, hidden_now_, nullptr, a);
}

void RecurrentProducts::step_back(const Context& context, size_t used, const void* da, float* d_conted) {
  hidden_back_->run(context, used, da, hidden_now_, nullptr, d_conted);
}

void RecurrentProducts::learn(const Context& context, size_t used, const Blobs& bottom, const void* da,
                              const void* conted, const Blobs& params, const std::vector<bool>& learns,
                              const std::vector<bool>& propagate_down) {
  if (learns[0]) learn_input_.run(context, used, da, bottom[0]->data<void>(), *params[0]);
  if (learns[1])
    dispatch(type_, [&](auto zero) {
      using T = decltype(zero);
      bias_gradient_.sum(context, used, static_cast<const T*>(da), *params[1]);
    });
  if (learns.back()) learn_hidden_.run(context, used, da, conted, *params.back());
  if (propagate_down[0]) input_back_->run(context, used, da, input_now_, nullptr, bottom[0]->diff<void>());
  if (sequence_.has_static() && (learns[2] || propagate_down[2]))
    learn_static(context, used, da, *bottom[2], *params[2], learns[2], propagate_down[2]);
}

void RecurrentProducts::learn_static(const Context& context, size_t used, const void* da, Blob& x_static,
                                     Blob& weights, bool learns, bool propagates) {
  Scratch scratch(context, used);
  auto* sums = scratch.take<float>(static_bytes());
  const int64_t size = sequence_.items * sums_;
  dispatch(type_, [&](auto zero) {
    using T = decltype(zero);
    launch(context, "sum_steps", grid_for(size), sum_steps_kernel<T>, sequence_.steps, size,
           static_cast<const T*>(da), sums);
  });
  if (learns) learn_static_.run(context, scratch.used, sums, x_static.data(), weights);
  if (propagates) static_back_->run(context, scratch.used, sums, weights.data(), nullptr, x_static.diff());
}

size_t RecurrentProducts::static_bytes() const {
  if (!sequence_.has_static()) return 0;
  return scratch_size(static_cast<size_t>(sequence_.items * sums_) * sizeof(float));
}

size_t RecurrentProducts::scratch_bytes() const {
  size_t most = std::max({bias_gradient_.scratch_bytes(), learn_input_.scratch_bytes(),
                          learn_hidden_.scratch_bytes(), learn_static_.scratch_bytes()});
  for (const Product* product : {&input_, &hidden_, &static_, &input_back_, &hidden_back_, &static_back_})
    if (*product) most = std::max(most, (*product)->scratch_bytes());
  return static_bytes() + most;
}

}  // namespace caffe::cuda
