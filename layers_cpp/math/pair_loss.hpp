// A layer of a formula that compares two blobs a and b element by element:
//
//   loss = 1/Z * sum of formula.loss(a, b) over all elements that count    (Z: math/loss_normalizer.hpp)
//   da = dloss/Z * formula.gradient(a, b); 0 for elements that do not
//
// A formula with kLabels has labels for b: exact, without a gradient, and one of them may not count.
// Without, a and b are alike, the formula is one of a - b, and db = -da.
//
// Both have as many values, in the same order in memory. Those of one block are added up in float, the blocks
// in double and in order: the same bits with any number of threads.
#pragma once

#include <cmath>

#include "core/error.hpp"
#include "core/parallel.hpp"
#include "core/registry.hpp"
#include "math/loss_normalizer.hpp"

namespace caffe {

struct PairSum {
  double loss;
  int64_t valid;
};

constexpr int64_t kPairBlock = 256;  // elements that are added up in float

template <class Formula, class T, class Target>
PairSum sum_pairs(const Formula& formula, float ignored, const T* a, const Target* b, int64_t size) {
  float loss = 0;
  int32_t valid = 0;
#pragma omp simd reduction(+ : loss, valid)
  for (int64_t i = 0; i < size; ++i) {
    const float target = b[i];
    const bool counts = std::trunc(target) != ignored;
    loss += counts ? formula.loss(a[i], target) : 0.0f;
    valid += counts ? 1 : 0;
  }
  return {loss, valid};
}

template <class Formula>
class PairLossLayer : public Layer {
 public:
  explicit PairLossLayer(const Args& args) : normalizer_(args), formula_(args) {}

  std::vector<Shape> top_shapes(const std::vector<Shape>& bottoms) const override {
    const Shape &a = bottoms[0], &b = bottoms[1];
    if (a.empty() || b.empty() || a[0] != b[0] || count(a) != count(b))
      throw ShapeError(message("both bottoms need the same first axis and the same number of values, got ",
                               to_string(a), " and ", to_string(b)));
    return {Shape{}};
  }

  void reshape(const Blobs& bottom, const Blobs&) override {
    normalizer_.reshape(bottom[0]->count(), bottom[0]->dim(0));
  }

  void forward(const Context& context, const Blobs& bottom, const Blobs& top) override {
    const int64_t count = bottom[0]->count();
    auto* sums = static_cast<PairSum*>(context.scratch->data());
    with_types(bottom, [&](const auto* a, const auto* b) {
      parallel_for(blocks(count), kElementwiseGrain / (8 * kPairBlock), [&](int64_t begin, int64_t end, int) {
        for (int64_t block = begin; block < end; ++block) {
          const int64_t first = block * kPairBlock, size = std::min(kPairBlock, count - first);
          sums[block] = sum_pairs(formula_, ignored_, a + first, b + first, size);
        }
      });
    });
    PairSum sum{};
    for (int64_t block = 0; block < blocks(count); ++block) {
      sum.loss += sums[block].loss;
      sum.valid += sums[block].valid;
    }
    divisor_ = normalizer_.divisor(sum.valid);
    *top[0]->data() = static_cast<float>(sum.loss / divisor_);
  }

  void backward(const Context&, const Blobs& top, const std::vector<bool>& propagate_down,
                const Blobs& bottom) override {
    if (Formula::kLabels) refuse_gradients(propagate_down, 1);
    const auto scale = static_cast<float>(*top[0]->diff() / divisor_);
    with_types(bottom, [&](const auto* a, const auto* b) {
      for (size_t i = 0; i < 2; ++i)
        if (propagate_down[i]) write_gradient(a, b, i == 0 ? scale : -scale, *bottom[i]);
    });
  }

  size_t scratch_bytes() const override {
    return static_cast<size_t>(blocks(normalizer_.labels())) * sizeof(PairSum);
  }

 private:
  static int64_t blocks(int64_t count) { return (count + kPairBlock - 1) / kPairBlock; }

  // Calls body(a, b) with pointers of the blobs' types.
  template <class Body>
  static void with_types(const Blobs& bottom, Body&& body) {
    dispatch(bottom[0]->dtype(), [&](auto zero) {
      using T = decltype(zero);
      using Target = std::conditional_t<Formula::kLabels, float, T>;
      body(static_cast<const T*>(bottom[0]->data<T>()),
           static_cast<const Target*>(bottom[1]->data<Target>()));
    });
  }

  template <class T, class Target>
  void write_gradient(const T* a, const Target* b, float scale, Blob& bottom) const {
    T* to = bottom.diff<T>();
    parallel_for(bottom.count(), kElementwiseGrain / 8, [&](int64_t begin, int64_t end, int) {
#pragma omp simd
      for (int64_t i = begin; i < end; ++i) {
        const float target = b[i];
        to[i] = std::trunc(target) != ignored_ ? scale * formula_.gradient(a[i], target) : 0.0f;
      }
    });
  }

  LossNormalizer normalizer_;
  const Formula formula_;
  const float ignored_ = normalizer_.ignored_value();
  double divisor_ = 1;  // of the last forward
};

#define REGISTER_PAIR_LOSS(type, device, Formula)            \
  static const ::caffe::Registration registration_##Formula( \
      type, ::caffe::Device::device,                         \
      [](const ::caffe::Args& args) { return std::make_shared<PairLossLayer<Formula>>(args); })

}  // namespace caffe
