// Dropout. TRAIN: y = x m / (1 - r), where m is 0 with probability r, else 1. TEST: y = x. Where training
// does not scale, TRAIN: y = x m, TEST: y = x (1 - r).
//
// Gradient: dy times the factor of x. The mask is not stored: it is a function of (seed, layer, iteration,
// place in memory), and backward draws the numbers of the last forward again. In-place use is fine.
#include <array>
#include <bit>
#include <cstring>

#include "core/parallel.hpp"
#include "core/registry.hpp"
#include "math/philox.hpp"

namespace caffe {
namespace {

// Elements are masked in groups of 4 * kBlocks. Element 4 * kBlocks * g + kBlocks * word + lane of memory
// uses word `word` of Philox block kBlocks * g + lane, so that kBlocks blocks are drawn at once.
constexpr int64_t kBlocks = 16;
constexpr int64_t kGroup = 4 * kBlocks;

// y = x * scale where the random word reaches the threshold, else x * 0 (NaN stays NaN).
template <class T>
void mask(const T* x, T* y, int64_t count, const Philox& random, uint32_t threshold, float scale) {
  const uint32_t scale_bits = std::bit_cast<uint32_t>(scale);
  parallel_for(
      (count + kGroup - 1) / kGroup, kElementwiseGrain / kGroup, [=](int64_t begin, int64_t end, int) {
        for (int64_t group = begin; group < end; ++group) {
          std::array<std::array<uint32_t, kBlocks>, 4> bits;
          random.draw(static_cast<uint64_t>(group * kBlocks), bits);
          const uint32_t* word = bits[0].data();
          const T* from = x + group * kGroup;
          T* to = y + group * kGroup;
          const int64_t size = std::min(kGroup, count - group * kGroup);
#pragma omp simd
          for (int64_t i = 0; i < size; ++i) {
            const uint32_t all_or_no_bits = word[i] >= threshold ? ~0u : 0u;  // a select would be a branch
            to[i] = from[i] * std::bit_cast<float>(scale_bits & all_or_no_bits);
          }
        }
      });
}

void copy(const void* from, void* to, size_t bytes) {
  if (from == to) return;
  parallel_for(static_cast<int64_t>(bytes), 4 * kElementwiseGrain, [=](int64_t begin, int64_t end, int) {
    std::memcpy(static_cast<char*>(to) + begin, static_cast<const char*>(from) + begin,
                static_cast<size_t>(end - begin));
  });
}

class DropoutLayer : public Layer {
 public:
  explicit DropoutLayer(const Args& args)
      : training_(args.flag("training")),
        scales_training_(args.flag("scale_train")),
        ratio_(args.real("dropout_ratio")) {}

  std::vector<Shape> top_shapes(const std::vector<Shape>& bottoms) const override { return bottoms; }

  void forward(const Context& context, const Blobs& bottom, const Blobs& top) override {
    iteration_ = context.iteration;
    if (!active()) return copy(bottom[0]->data<void>(), top[0]->data<void>(), top[0]->bytes());
    dispatch(top[0]->dtype(), [&](auto zero) {
      using T = decltype(zero);
      mask(bottom[0]->data<T>(), top[0]->data<T>(), top[0]->count(), random(context), threshold(), scale());
    });
  }

  void backward(const Context& context, const Blobs& top, const std::vector<bool>& propagate_down,
                const Blobs& bottom) override {
    if (!propagate_down[0]) return;
    if (!active()) return copy(top[0]->diff<void>(), bottom[0]->diff<void>(), top[0]->bytes());
    dispatch(top[0]->dtype(), [&](auto zero) {
      using T = decltype(zero);
      mask(top[0]->diff<T>(), bottom[0]->diff<T>(), top[0]->count(), random(context), threshold(), scale());
    });
  }

 private:
  Philox random(const Context& context) const { return Philox(context.seed, stream, iteration_); }

  bool active() const { return ratio_ > 0 && (training_ || !scales_training_); }
  float scale() const {
    if (training_) return scales_training_ ? 1.0f / (1.0f - ratio_) : 1.0f;
    return 1.0f - ratio_;
  }
  // A 32-bit random word below it drops the element; none is when testing.
  uint32_t threshold() const {
    return training_ ? static_cast<uint32_t>(static_cast<double>(ratio_) * 0x1p32) : 0;
  }

  const bool training_, scales_training_;
  const float ratio_;
  uint64_t iteration_ = 0;  // of the last forward
};

REGISTER_LAYER("Dropout", cpu, DropoutLayer);

}  // namespace
}  // namespace caffe
