// C = op(A) op(B) on matrices in device memory, row by row, planned for fixed shapes.
#pragma once

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

}  // namespace caffe::cuda
