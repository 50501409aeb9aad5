#include "core/launch.hpp"
#include "core/pack.hpp"
#include "math/bias_relu.hpp"

namespace caffe::cuda {
namespace {

// y, addend: (packs, kCount) of a (rows, channels) array; bias: (channel_packs, kCount).
template <int kCount, class T>
__global__ void add_bias_relu_kernel(const float* bias, const T* addend, T* y, uint32_t packs,
                                     uint32_t channel_packs, bool relu) {
  const uint32_t index = blockIdx.x * blockDim.x + threadIdx.x;
  if (index >= packs) return;
  auto values = load_pack<T, kCount>(y + int64_t{index} * kCount);
  float sums[kCount];
  for (int i = 0; i < kCount; ++i) sums[i] = values.at[i];
  if (bias) {
    const auto shift = load_pack<float, kCount>(bias + (index % channel_packs) * kCount);
    for (int i = 0; i < kCount; ++i) sums[i] += shift.at[i];
  }
  if (addend) {
    const auto more = load_pack<T, kCount>(addend + int64_t{index} * kCount);
    for (int i = 0; i < kCount; ++i) sums[i] += more.at[i];
  }
  for (int i = 0; i < kCount; ++i) values.at[i] = relu && sums[i] < 0 ? 0.0f : sums[i];  // NaN stays
  store_pack(y + int64_t{index} * kCount, values);
}

template <int kCount, class T>
void start(const Context& context, int64_t rows, int64_t channels, const float* bias, const T* addend,
           bool relu, T* y) {
  const int64_t channel_packs = channels / kCount, packs = rows * channel_packs;
  launch(context, "add_bias_relu", grid_for(packs), add_bias_relu_kernel<kCount, T>, bias, addend, y, packs,
         channel_packs, relu);
}

}  // namespace

void add_bias_relu(const Context& context, DType type, int64_t rows, int64_t channels, const float* bias,
                   const void* addend, bool relu, void* y) {
  dispatch(type, [&](auto zero) {
    using T = decltype(zero);
    constexpr int kCount = 4;
    const auto* more = static_cast<const T*>(addend);
    auto* out = static_cast<T*>(y);
    if (channels % kCount == 0 && packable(bias, addend, y))
      start<kCount>(context, rows, channels, bias, more, relu, out);
    else
      start<1>(context, rows, channels, bias, more, relu, out);
  });
}

}  // namespace caffe::cuda
