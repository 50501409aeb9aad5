#include "math/cudnn_timing.hpp"

#include <algorithm>
#include <cstring>
#include <limits>
#include <random>

#include "core/accelerator.hpp"
#include "core/check.hpp"
#include "math/cudnn_run.hpp"

namespace caffe::cuda {
namespace {

// The first round finds the clock of the GPU still rising, so that each plan gets a second chance.
constexpr int kRounds = 2, kRuns = 4;

// Bytes of what a convolution reads and writes.
struct Sizes {
  size_t x, w, y, addend, bias, scratch = 0;

  Sizes(const ConvolutionSpec& spec, Pass pass, const std::vector<Plan>& plans)
      : x(bytes(spec, spec.items, spec.in, spec.channels)),
        w(bytes(spec, spec.outputs, spec.kernel, spec.channels / spec.group)),
        y(bytes(spec, spec.items, spec.out, spec.outputs)),
        addend(spec.addend ? y : 0),
        bias(static_cast<size_t>(spec.outputs) * sizeof(float)) {
    for (const Plan& plan : plans) scratch = std::max(scratch, scratch_bytes(spec, pass, plan));
  }
  static size_t bytes(const ConvolutionSpec& spec, int64_t count, const std::vector<int64_t>& spatial,
                      int64_t channels) {
    for (const int64_t size : spatial) count *= size;
    return static_cast<size_t>(count * channels) * size_of(spec.dtype);
  }
  bool fit() const {
    constexpr size_t kReserve = size_t{64} << 20;  // for the kernels' code, and what alignment costs
    size_t free = 0, total = 0;
    CAFFE_CUDA(cudaMemGetInfo(&free, &total));
    return x + w + y + addend + bias + scratch + kReserve <= free;
  }
};

// Values between 0.5 and 2 of either sign, as bfloat16 and, two of them read together, as float32.
std::vector<uint16_t> random_words(size_t count) {
  std::mt19937 random(0);
  std::vector<uint16_t> words(count);
  for (uint16_t& word : words) {
    const auto bits = static_cast<uint32_t>(random());
    const uint32_t sign = bits & 0x8000u, mantissa = bits & 0x7fu;
    const uint32_t exponent = 126 + (bits >> 16 & 1);
    word = static_cast<uint16_t>(sign | exponent << 7 | mantissa);
  }
  return words;
}

// An array for the kernels to work on. On zeros a GPU takes less power, and thus may clock higher than it
// does on values.
class Noise {
 public:
  explicit Noise(size_t bytes) : memory_(accelerator().allocate(std::max<size_t>(bytes, 1))) {
    constexpr size_t kPiece = size_t{1} << 20;
    const auto piece = allocate_pinned(kPiece);
    std::memcpy(piece.get(), random_words(kPiece / sizeof(uint16_t)).data(), kPiece);
    size_t filled = std::min(bytes, kPiece);
    accelerator().upload(memory_, piece.get(), filled);
    for (; filled < bytes; filled *= 2)
      accelerator().copy(static_cast<char*>(memory_) + filled, memory_, std::min(filled, bytes - filled));
    accelerator().wait();
  }
  ~Noise() { accelerator().release(memory_); }
  Noise(const Noise&) = delete;
  void* get() const { return memory_; }

 private:
  void* memory_;
};

class Stopwatch {
 public:
  Stopwatch(const ConvolutionSpec& spec, Pass pass, const Sizes& sizes)
      : spec_(spec),
        pass_(pass),
        x_(sizes.x),
        w_(sizes.w),
        y_(sizes.y),
        addend_(sizes.addend),
        bias_(sizes.bias),
        scratch_(sizes.scratch) {
    context_.stream = accelerator().stream();
  }

  // Endless for a plan that cuDNN has made but cannot run.
  double milliseconds(const Plan& plan) {
    try {
      repeat(plan, 1);
      const auto start = accelerator().mark();
      repeat(plan, kRuns);
      return accelerator().mark()->milliseconds_since(*start);
    } catch (const DeviceError&) {
      cudaGetLastError();  // the failure is dealt with here
      return std::numeric_limits<double>::infinity();
    }
  }

 private:
  void repeat(const Plan& plan, int times) {
    const Pointers pointers{x_.get(), w_.get(), y_.get(), spec_.bias ? bias_.get() : nullptr,
                            spec_.addend ? addend_.get() : nullptr};
    while (times-- > 0) run(context_, spec_, pass_, plan, pointers, static_cast<char*>(scratch_.get()));
  }

  const ConvolutionSpec& spec_;
  const Pass pass_;
  const Noise x_, w_, y_, addend_, bias_, scratch_;
  Context context_{};
};

}  // namespace

std::optional<size_t> fastest(const ConvolutionSpec& spec, Pass pass, const std::vector<Plan>& plans) {
  const Sizes sizes(spec, pass, plans);
  if (!sizes.fit()) return std::nullopt;
  Stopwatch stopwatch(spec, pass, sizes);
  std::vector<double> times(plans.size(), std::numeric_limits<double>::infinity());
  for (int round = 0; round < kRounds; ++round)
    for (size_t i = 0; i < plans.size(); ++i) times[i] = std::min(times[i], stopwatch.milliseconds(plans[i]));
  return static_cast<size_t>(std::min_element(times.begin(), times.end()) - times.begin());
}

}  // namespace caffe::cuda
