// ContrastiveLoss: pairs of vectors a, b (N, ...), and for each whether they are similar, y (N).
//
//   loss = 1/N * sum over n of formula.loss(d^2, y[n] != 0),  d^2 = |a[n] - b[n]|^2
//   da[n] = dloss/N * formula.factor * (a[n] - b[n]),  db = -da
//
// with the formula of formulas/contrastive_loss.hpp, and y truncated towards zero. One factor a pair is kept
// for backward. A pair is computed by one thread and their losses are added up in order: the same bits with
// any number of threads.
#include "formulas/contrastive_loss.hpp"

#include "core/parallel.hpp"
#include "core/registry.hpp"
#include "math/loss_normalizer.hpp"
#include "math/rows.hpp"

namespace caffe {
namespace {

// Calls body(pair) for every pair, in parallel.
template <class Body>
void for_each_pair(const Rows& pairs, Body&& body) {
  parallel_for(pairs.count, kElementwiseGrain / std::max<int64_t>(1, pairs.length),
               [&](int64_t begin, int64_t end, int) {
                 for (int64_t pair = begin; pair < end; ++pair) body(pair);
               });
}

template <class T>
float squared_distance(const T* a, const T* b, int64_t length) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < length; ++i) {
    const float difference = static_cast<float>(a[i]) - static_cast<float>(b[i]);
    sum += difference * difference;
  }
  return sum;
}

class ContrastiveLossLayer : public Layer {
 public:
  explicit ContrastiveLossLayer(const Args& args) : normalizer_(args), formula_(args) {}

  std::vector<Shape> top_shapes(const std::vector<Shape>& bottoms) const override {
    const Shape &a = bottoms[0], &b = bottoms[1], &similar = bottoms[2];
    if (a.empty() || b.empty() || a[0] != b[0] || count(a) != count(b))
      throw ShapeError(
          message("pairs need the same first axis and the same number of values in both bottoms, got ",
                  to_string(a), " and ", to_string(b)));
    if (count(similar) != a[0])
      throw ShapeError(message(a[0], " pairs need as many labels, got ", to_string(similar)));
    return {Shape{}};
  }

  void reshape(const Blobs& bottom, const Blobs&) override {
    pairs_ = Rows(bottom[0]->shape());
    normalizer_.reshape(pairs_.count, pairs_.count);
    factors_.reserve(static_cast<size_t>(pairs_.count) * sizeof(float));
  }

  void forward(const Context& context, const Blobs& bottom, const Blobs& top) override {
    auto* losses = static_cast<float*>(context.scratch->data());
    auto* factors = static_cast<float*>(factors_.data());
    const float* similar = bottom[2]->data();
    dispatch(bottom[0]->dtype(), [&](auto zero) {
      using T = decltype(zero);
      const T *a = bottom[0]->data<T>(), *b = bottom[1]->data<T>();
      for_each_pair(pairs_, [&](int64_t pair) {
        const int64_t first = pair * pairs_.length;
        const float square = squared_distance(a + first, b + first, pairs_.length);
        const bool alike = std::trunc(similar[pair]) != 0;
        losses[pair] = formula_.loss(square, alike);
        factors[pair] = formula_.factor(square, alike);
      });
    });
    double sum = 0;
    for (int64_t pair = 0; pair < pairs_.count; ++pair) sum += losses[pair];
    *top[0]->data() = static_cast<float>(sum / normalizer_.divisor(pairs_.count));
  }

  void backward(const Context&, const Blobs& top, const std::vector<bool>& propagate_down,
                const Blobs& bottom) override {
    refuse_gradients(propagate_down, 2);
    const auto scale = static_cast<float>(*top[0]->diff() / normalizer_.divisor(pairs_.count));
    for (size_t i = 0; i < 2; ++i)
      if (propagate_down[i]) write_gradient(bottom, i == 0 ? scale : -scale, *bottom[i]);
  }

  size_t scratch_bytes() const override { return static_cast<size_t>(pairs_.count) * sizeof(float); }

 private:
  void write_gradient(const Blobs& bottom, float scale, Blob& of) {
    const auto* factors = static_cast<const float*>(factors_.data());
    dispatch(of.dtype(), [&](auto zero) {
      using T = decltype(zero);
      const T *a = bottom[0]->data<T>(), *b = bottom[1]->data<T>();
      T* to = of.diff<T>();
      for_each_pair(pairs_, [&](int64_t pair) {
        const float factor = scale * factors[pair];
        const int64_t first = pair * pairs_.length, last = first + pairs_.length;
#pragma omp simd
        for (int64_t i = first; i < last; ++i)
          to[i] = factor * (static_cast<float>(a[i]) - static_cast<float>(b[i]));
      });
    });
  }

  LossNormalizer normalizer_;
  const ContrastiveLoss formula_;
  Rows pairs_;
  Owned factors_{storages};
};

REGISTER_LAYER("ContrastiveLoss", cpu, ContrastiveLossLayer);

}  // namespace
}  // namespace caffe
