// C = op(A) op(B) on matrices in device memory, row by row, planned for fixed shapes.
#pragma once

#include <algorithm>
#include <memory>

#include "core/layer.hpp"

namespace caffe::cuda {

// op(A): M x K, op(B): K x N, C: M x N; op transposes where the flag says so, C-contiguous all of them. Sums
// are taken in float32, or for float32 factors with `tf32` of products of factors rounded to TF32.
struct MatrixProductSpec {
  int64_t m, n, k;
  bool transpose_a = false, transpose_b = false;
  DType factors = DType::float32, product = DType::float32;  // types of A and B, and of C
  bool tf32 = false;
  bool bias = false;        // adds a float32 vector (N) to each row of C
  bool relu = false;        // then clips
  bool accumulate = false;  // C += instead of C =; without bias and relu
  uint32_t alignment = 16;  // bytes that all addresses are a multiple of
};

class MatrixProduct {
 public:
  virtual ~MatrixProduct() = default;
  // Queued on the context's stream. Beyond `used` bytes, which the caller keeps for itself, it may use
  // scratch_bytes() of the context's scratch.
  virtual void run(const Context& context, size_t used, const void* a, const void* b, const float* bias,
                   void* c) = 0;
  virtual size_t scratch_bytes() const = 0;
};

std::unique_ptr<MatrixProduct> make_matrix_product(const MatrixProductSpec& spec);

// dW += A^T B in float32, the gradient of weights (M, N) from A (K, M) and B (K, N); overwrites one that is
// known to be zero.
class GradientProduct {
 public:
  void create(int64_t m, int64_t n, int64_t k, DType factors, bool tf32) {
    MatrixProductSpec spec{.m = m, .n = n, .k = k, .transpose_a = true, .factors = factors, .tf32 = tf32};
    first_ = make_matrix_product(spec);
    spec.accumulate = true;
    more_ = make_matrix_product(spec);
  }
  void run(const Context& context, size_t used, const void* a, const void* b, Blob& weights) {
    Storage& gradient = weights.diff_storage();
    const bool more = !gradient.zero();
    void* sum = more ? gradient.data() : gradient.overwrite();
    (more ? more_ : first_)->run(context, used, a, b, nullptr, sum);
  }
  size_t scratch_bytes() const {
    return first_ ? std::max(first_->scratch_bytes(), more_->scratch_bytes()) : 0;
  }

 private:
  std::unique_ptr<MatrixProduct> first_, more_;
};

}  // namespace caffe::cuda
