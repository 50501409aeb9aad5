#include "math/recurrent_products.hpp"

#include "core/scratch.hpp"
#include "math/column_sums.hpp"
#include "math/elementwise.hpp"

namespace caffe {
namespace {

bool any(const float* values, int64_t count) {
  return std::any_of(values, values + count, [](float value) { return value != 0.0f; });
}

// sums[i] = sum over t of steps[t, i]
template <class T>
void sum_steps(const T* steps, float* sums, int64_t count, int64_t size) {
  parallel_for(size, kElementwiseGrain / count + 1, [=](int64_t begin, int64_t end, int) {
    std::fill(sums + begin, sums + end, 0.0f);
    for (int64_t t = 0; t < count; ++t) {
#pragma omp simd
      for (int64_t i = begin; i < end; ++i) sums[i] += static_cast<float>(steps[t * size + i]);
    }
  });
}

}  // namespace

std::vector<Shape> recurrent_param_shapes(const Sequence& sequence, int64_t sums) {
  std::vector<Shape> shapes{{sums, sequence.inputs}, {sums}};
  if (sequence.has_static()) shapes.push_back({sums, sequence.statics});
  shapes.push_back({sums, sequence.outputs});
  return shapes;
}

void RecurrentProducts::create(const Sequence& sequence, int64_t sums, DType type, bool learns) {
  sequence_ = sequence;
  sums_ = sums;
  type_ = type;
  MatrixProductSpec spec{.m = sequence.rows(),
                         .n = sums,
                         .k = sequence.inputs,
                         .transpose_b = true,
                         .factors = type,
                         .bias = true};
  input_.create(spec, false);
  spec = {.m = sequence.items,
          .n = sums,
          .k = sequence.outputs,
          .transpose_b = true,
          .factors = type,
          .accumulate = true};
  hidden_.create(spec, true);
  if (sequence.has_static())
    static_.create({.m = sequence.items, .n = sums, .k = sequence.statics, .transpose_b = true});
  if (learns) create_back();
}

void RecurrentProducts::create_back() {
  const int64_t rows = sequence_.rows(), items = sequence_.items;
  input_back_.create({.m = rows, .n = sequence_.inputs, .k = sums_, .factors = type_, .product = type_},
                     false);
  hidden_back_.create({.m = items, .n = sequence_.outputs, .k = sums_, .factors = type_}, true);
  learn_input_.create(sums_, sequence_.inputs, rows, type_);
  learn_hidden_.create(sums_, sequence_.outputs, rows, type_);
  if (!sequence_.has_static()) return;
  static_back_.create({.m = items, .n = sequence_.statics, .k = sums_});
  learn_static_.create(sums_, sequence_.statics, items, DType::float32);
}

void RecurrentProducts::prepare(const Context& context, const Blobs& params) {
  input_weights_ = input_.weights(context, *params[0]);
  hidden_weights_ = hidden_.weights(context, *params.back());
}

void RecurrentProducts::start(const Context& context, size_t used, const Blobs& bottom, const Blobs& params,
                              float* a) {
  input_.run(context, used, bottom[0]->data<void>(), input_weights_, params[1]->data(), a);
  if (sequence_.has_static()) add_static(context, used, *bottom[2], *params[2], a);
}

void RecurrentProducts::add_static(const Context& context, size_t used, Blob& x_static, Blob& weights,
                                   float* a) {
  Scratch scratch(context, used);
  auto* once = scratch.take<float>(static_bytes());
  static_.run(context, scratch.used, x_static.data(), weights.data(), nullptr, once);
  const int64_t count = sequence_.items * sums_;
  parallel_for(sequence_.steps, kElementwiseGrain / count + 1, [=](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) add_to(a + t * count, once, count);
  });
}

void RecurrentProducts::add_step(const Context& context, size_t used, const float* cont, const void* conted,
                                 float* a) {
  if (any(cont, sequence_.items)) hidden_.run(context, used, conted, hidden_weights_, nullptr, a);
}

void RecurrentProducts::prepare_back(const Context& context, const Blobs& params) {
  input_weights_ = input_back_.weights(context, *params[0]);
  hidden_weights_ = hidden_back_.weights(context, *params.back());
}

void RecurrentProducts::step_back(const Context& context, size_t used, const float* cont, const void* da,
                                  float* d_conted) {
  if (any(cont, sequence_.items)) hidden_back_.run(context, used, da, hidden_weights_, nullptr, d_conted);
}

void RecurrentProducts::learn(const Context& context, size_t used, const Blobs& bottom, const void* da,
                              const void* conted, const Blobs& params, const std::vector<bool>& learns,
                              const std::vector<bool>& propagate_down) {
  if (learns[0]) learn_input_.run(context, used, da, bottom[0]->data<void>(), *params[0]);
  if (learns[1])
    dispatch(type_, [&](auto zero) {
      using T = decltype(zero);
      add_column_sums(static_cast<const T*>(da), params[1]->diff(), sequence_.rows(), sums_);
    });
  if (learns.back()) learn_hidden_.run(context, used, da, conted, *params.back());
  if (propagate_down[0]) input_back_.run(context, used, da, input_weights_, nullptr, bottom[0]->diff<void>());
  if (sequence_.has_static() && (learns[2] || propagate_down[2]))
    learn_static(context, used, da, *bottom[2], *params[2], learns[2], propagate_down[2]);
}

void RecurrentProducts::learn_static(const Context& context, size_t used, const void* da, Blob& x_static,
                                     Blob& weights, bool learns, bool propagates) {
  Scratch scratch(context, used);
  auto* sum = scratch.take<float>(static_bytes());
  dispatch(type_, [&](auto zero) {
    using T = decltype(zero);
    sum_steps(static_cast<const T*>(da), sum, sequence_.steps, sequence_.items * sums_);
  });
  if (learns) learn_static_.run(context, scratch.used, sum, x_static.data(), weights);
  if (propagates) static_back_.run(context, scratch.used, sum, weights.data(), nullptr, x_static.diff());
}

size_t RecurrentProducts::static_bytes() const {
  if (!sequence_.has_static()) return 0;
  return scratch_size(static_cast<size_t>(sequence_.items * sums_) * sizeof(float));
}

size_t RecurrentProducts::bytes() const {
  return input_.bytes() + hidden_.bytes() + input_back_.bytes() + hidden_back_.bytes();
}

size_t RecurrentProducts::scratch_bytes() const {
  return static_bytes() +
         std::max({input_.scratch_bytes(), hidden_.scratch_bytes(), input_back_.scratch_bytes(),
                   hidden_back_.scratch_bytes(), static_.scratch_bytes(), static_back_.scratch_bytes(),
                   learn_input_.scratch_bytes(), learn_hidden_.scratch_bytes(),
                   learn_static_.scratch_bytes()});
}

}  // namespace caffe
