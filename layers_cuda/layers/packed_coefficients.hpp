// What Scale and Bias share on the GPU: coefficients as float32 in the order of the first bottom's memory,
// and their gradients, which are sums. The twin of layers_cpp/layers/coefficients.hpp, which says which axes
// they belong to.
#pragma once

#include "layers/coefficient_axes.hpp"
#include "math/broadcast.hpp"
#include "math/coefficient_map.hpp"
#include "math/coefficient_sums.hpp"

namespace caffe::cuda {

inline Spread spread_of(const Broadcast& broadcast) {
  const auto [a, b, r, d] = broadcast.extents();
  return {a, b, r, d};
}

// From the place of a coefficient in memory to its place in the blob it is from.
struct CoefficientOrder {
  explicit CoefficientOrder(const Broadcast& broadcast)
      : channels(static_cast<int>(broadcast.channels())), spatial(static_cast<int>(broadcast.spatial())) {}

  __device__ int logical(int k) const {
    const int channel = k % channels, place = k / channels % spatial, before = k / channels / spatial;
    return (before * channels + channel) * spatial + place;
  }

  int channels, spatial;
};

template <class T>
__global__ void pack_coefficients_kernel(CoefficientOrder order, const T* values, float* packed, int count) {
  // values, packed: (count)
  const int k = blockIdx.x * blockDim.x + threadIdx.x;
  if (k < count) packed[k] = values[order.logical(k)];
}

// `values.data` itself where it is float32 in memory order already, else a copy in `memory`.
inline const float* pack_coefficients(const Context& context, const Broadcast& broadcast, Blob& values,
                                      float* memory) {
  if (values.dtype() == DType::float32 && !broadcast.packed()) return values.data();
  dispatch(values.dtype(), [&](auto zero) {
    using T = decltype(zero);
    launch(context, "pack_coefficients", grid_for(broadcast.coefficients(), 128), pack_coefficients_kernel<T>,
           CoefficientOrder(broadcast), values.data<T>(), memory, broadcast.coefficients());
  });
  return memory;
}

// Where the sums of one gradient go: added to a learned blob, written to a bottom.
struct GradientPlace {
  GradientPlace(const Broadcast& broadcast, Blob* values, bool accumulate)
      : order(broadcast),
        wanted(values != nullptr),
        wide(wanted && values->dtype() == DType::float32),
        add(wanted && accumulate && !values->diff_storage().zero()) {
    if (wanted) diff = add ? values->diff_storage().data() : values->diff_storage().overwrite();
  }

  __device__ void put(int k, double sum) const {
    if (!wanted) return;
    const int at = order.logical(k);
    if (wide)
      static_cast<float*>(diff)[at] = (add ? static_cast<float*>(diff)[at] : 0.0f) + static_cast<float>(sum);
    else
      static_cast<bfloat16*>(diff)[at] = static_cast<float>(sum);
  }

  CoefficientOrder order;
  bool wanted, wide, add;
  void* diff = nullptr;
};

}  // namespace caffe::cuda
