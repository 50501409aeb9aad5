#include "core/division.hpp"
#include "core/launch.hpp"
#include "core/pack.hpp"
#include "math/bias_relu.hpp"

namespace caffe::cuda {
namespace {

// y, addend: (packs, kCount) of a (rows, channels) array; bias: (channel_packs, kCount).
template <int kCount, class T>
__global__ void add_bias_relu_kernel(const float* bias, const T* addend, T* y, uint32_t packs,
                                     Divisor channel_packs, bool relu) {
  constexpr int kPart = kCount < 4 ? kCount : 4;  // floats in 16 bytes
  const uint32_t index = blockIdx.x * blockDim.x + threadIdx.x;
  if (index >= packs) return;
  uint32_t row = index;
  const uint32_t column = channel_packs.split(row);
  Pack<T, kCount> values = load_pack<T, kCount>(y + int64_t{index} * kCount), more{};
  Pack<float, kPart> shift[kCount / kPart] = {};
  if (addend) more = load_pack<T, kCount>(addend + int64_t{index} * kCount);
  if (bias)
#pragma unroll
    for (int part = 0; part < kCount / kPart; ++part)
      shift[part] = load_pack<float, kPart>(bias + column * kCount + part * kPart);
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    float sum = values.at[i];
    if (bias) sum += shift[i / kPart].at[i % kPart];
    if (addend) sum += static_cast<float>(more.at[i]);
    values.at[i] = relu && sum < 0 ? 0.0f : sum;  // NaN stays
  }
  store_pack(y + int64_t{index} * kCount, values);
}

template <int kCount, class T>
void start(const Context& context, int64_t rows, int64_t channels, const float* bias, const T* addend,
           bool relu, T* y) {
  const int64_t channel_packs = channels / kCount, packs = rows * channel_packs;
  launch(context, "add_bias_relu", grid_for(packs), add_bias_relu_kernel<kCount, T>, bias, addend, y, packs,
         Divisor(static_cast<uint32_t>(channel_packs)), relu);
}

}  // namespace

void add_bias_relu(const Context& context, DType type, int64_t rows, int64_t channels, const float* bias,
                   const void* addend, bool relu, void* y) {
  dispatch(type, [&](auto zero) {
    using T = decltype(zero);
    constexpr int kCount = Pack<T>::count;
    const auto* more = static_cast<const T*>(addend);
    auto* out = static_cast<T*>(y);
    if (channels % kCount == 0 && packable(bias, addend, y))
      start<kCount>(context, rows, channels, bias, more, relu, out);
    else
      start<1>(context, rows, channels, bias, more, relu, out);
  });
}

}  // namespace caffe::cuda
