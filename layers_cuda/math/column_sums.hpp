// Sums over the rows of a matrix in device memory, as the gradient of a bias needs them.
#pragma once

#include "core/layer.hpp"

namespace caffe::cuda {

// Planned for a matrix of (rows, columns). The sums are taken in float32 in a fixed order.
class ColumnSums {
 public:
  ColumnSums() = default;
  ColumnSums(int64_t rows, int64_t columns, DType dtype);

  // sums[n] = sum over m of values[m, n]; += with `accumulate`. Beyond `used` bytes, which the caller keeps
  // for itself, it uses scratch_bytes() of the context's scratch.
  void run(const Context& context, size_t used, const void* values, float* sums, bool accumulate) const;
  // The same after dy = 0 where y <= 0, in place: backward of a ReLU that was fused into what made y.
  void mask_and_run(const Context& context, size_t used, const void* y, void* dy, float* sums,
                    bool accumulate) const;

  size_t scratch_bytes() const;

 private:
  // Partial sums of some rows each, which are then summed.
  template <class T>
  void sum_parts(const Context& context, const T* y, T* values, float* parts) const;
  void run(const Context& context, size_t used, const void* y, void* values, float* sums,
           bool accumulate) const;

  int64_t rows_ = 0, columns_ = 0;
  DType dtype_ = DType::float32;
  int parts_ = 0;
};

}  // namespace caffe::cuda
