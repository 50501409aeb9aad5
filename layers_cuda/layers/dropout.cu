// Dropout on the GPU; formulas and random numbers as in layers_cpp/layers/dropout.cpp. A thread draws
// kLanes blocks of Philox one behind the other and masks the four runs of kLanes elements they belong to.
// Recorded work must not know the iteration: forward reads it from the device and keeps it there for
// backward.
#include "core/accelerator.hpp"
#include "core/cuda_layer.hpp"
#include "core/launch.hpp"
#include "core/pack.hpp"
#include "math/philox.hpp"

namespace caffe::cuda {
namespace {

constexpr int kWords = 4;                   // of one Philox block
constexpr int kBlocks = 16;                 // as in dropout.cpp
constexpr int kGroup = kWords * kBlocks;    // elements
constexpr int kLanes = 4;                   // Philox blocks, and elements in a run
constexpr int kThreads = kBlocks / kLanes;  // for a group

struct Mask {
  uint64_t seed, stream;
  uint32_t threshold;  // a random word below it drops the element
  float scale;
};

// from, to: (count), where a thread's runs are read as packs if they are all there and `aligned`; iteration,
// and `kept` if it is given: (1).
template <class T>
__global__ void dropout_mask_kernel(Mask mask, int64_t count, bool aligned, const uint64_t* iteration,
                                    uint64_t* kept, const T* from, T* to) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (kept && i == 0) *kept = *iteration;
  const Philox random(mask.seed, mask.stream, *iteration);
  const int64_t first = i / kThreads * kGroup + i % kThreads * kLanes;
  if (first >= count) return;

  // All there is to read is under way while the random numbers are drawn.
  const bool whole = aligned && first + (kWords - 1) * kBlocks + kLanes <= count;
  Pack<T, kLanes> runs[kWords];
  if (whole)
#pragma unroll
    for (int word = 0; word < kWords; ++word)
      runs[word] = load_pack<T, kLanes>(from + first + word * kBlocks);

  float factor[kWords][kLanes];
#pragma unroll
  for (int lane = 0; lane < kLanes; ++lane) {
    const auto words = random(static_cast<uint64_t>(i) * kLanes + lane);
#pragma unroll
    for (int word = 0; word < kWords; ++word)
      factor[word][lane] = words[word] >= mask.threshold ? mask.scale : 0.0f;
  }
#pragma unroll
  for (int word = 0; word < kWords; ++word) {
    const int64_t begin = first + word * kBlocks;
    if (whole) {
#pragma unroll
      for (int lane = 0; lane < kLanes; ++lane)
        runs[word].at[lane] = runs[word].at[lane] * factor[word][lane];
      store_pack(to + begin, runs[word]);
      continue;
    }
#pragma unroll
    for (int lane = 0; lane < kLanes; ++lane)
      if (begin + lane < count) to[begin + lane] = from[begin + lane] * factor[word][lane];
  }
}

void copy(const void* from, void* to, size_t bytes) {
  if (from != to && bytes > 0) accelerator().copy(to, from, bytes);
}

class DropoutLayer : public CudaLayer {
 public:
  explicit DropoutLayer(const Args& args)
      : CudaLayer("Dropout", args),
        training_(args.flag("training")),
        scales_training_(args.flag("scale_train")),
        ratio_(args.real("dropout_ratio")) {}

  void reshape(const Blobs&, const Blobs&) override {
    if (active()) iteration_.reserve(sizeof(uint64_t));
  }
  size_t private_bytes(bool) const override { return iteration_.bytes(); }

  void forward(const Context& context, const Blobs& bottom, const Blobs& top) override {
    if (!active()) return copy(bottom[0]->data<void>(), top[0]->data<void>(), top[0]->bytes());
    auto* kept = static_cast<uint64_t*>(iteration_.data());
    dispatch(top[0]->dtype(), [&](auto zero) {
      using T = decltype(zero);
      mask(context, "dropout_forward", context.device_iteration, kept, top[0]->count(), bottom[0]->data<T>(),
           top[0]->data<T>());
    });
  }

  void backward(const Context& context, const Blobs& top, const std::vector<bool>& propagate_down,
                const Blobs& bottom) override {
    if (!propagate_down[0]) return;
    if (!active()) return copy(top[0]->diff<void>(), bottom[0]->diff<void>(), top[0]->bytes());
    const auto* iteration = static_cast<const uint64_t*>(iteration_.data());
    dispatch(top[0]->dtype(), [&](auto zero) {
      using T = decltype(zero);
      mask(context, "dropout_backward", iteration, nullptr, top[0]->count(), top[0]->diff<T>(),
           bottom[0]->diff<T>());
    });
  }

 private:
  template <class T>
  void mask(const Context& context, const char* name, const uint64_t* iteration, uint64_t* kept,
            int64_t count, const T* from, T* to) const {
    const int64_t groups = (count + kGroup - 1) / kGroup;
    launch(context, name, grid_for(groups * kThreads), dropout_mask_kernel<T>,
           Mask{context.seed, stream, threshold(), scale()}, count, packable(from, to), iteration, kept, from,
           to);
  }

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
  Storage iteration_{Device::cuda};  // of the last forward
};

REGISTER_LAYER("Dropout", cuda, DropoutLayer);

}  // namespace
}  // namespace caffe::cuda
