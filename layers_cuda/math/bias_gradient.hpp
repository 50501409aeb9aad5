// The first thing in backward of a layer y = W x + b, with or without a ReLU that was fused into it.
#pragma once

#include "math/column_sums.hpp"
#include "math/elementwise.hpp"

namespace caffe::cuda {

struct ReLUMask {
  __device__ float operator()(float y, float dy) const { return y > 0 ? dy : 0.0f; }
};

// Planned for a top of (rows, columns).
class BiasGradient {
 public:
  void create(int64_t rows, int64_t columns, DType dtype) { sums_ = ColumnSums(rows, columns, dtype); }

  // With `masks`, dy = 0 where y <= 0, in place; then db += column sums of dy, unless `bias` is null.
  void run(const Context& context, Blob& top, bool masks, Blob* bias) const {
    if (!bias) {
      if (masks) mask(context, top);
      return;
    }
    Storage& gradient = bias->diff_storage();
    const bool more = !gradient.zero();
    auto* sums = static_cast<float*>(more ? gradient.data() : gradient.overwrite());
    if (masks)
      sums_.mask_and_run(context, 0, top.data<void>(), top.diff<void>(), sums, more);
    else
      sums_.run(context, 0, top.diff<void>(), sums, more);
  }

  size_t scratch_bytes() const { return sums_.scratch_bytes(); }

 private:
  static void mask(const Context& context, Blob& top) {
    dispatch(top.dtype(), [&](auto zero) {
      using T = decltype(zero);
      elementwise(context, "mask_by_relu", ReLUMask(), top.count(), top.diff<T>(),
                  static_cast<const T*>(top.data<T>()), static_cast<const T*>(top.diff<T>()));
    });
  }

  ColumnSums sums_;
};

}  // namespace caffe::cuda
