// C = op(A) op(B) by oneDNN, on matrices stored row by row, planned for fixed shapes.
#pragma once

#include "math/packed_weights.hpp"

namespace caffe {

// op(A): M x K, op(B): K x N, C: M x N; op transposes where the flag says so, C-contiguous all of them. Sums
// are taken in float32.
struct MatrixProductSpec {
  int64_t m, n, k;
  bool transpose_a = false, transpose_b = false;
  DType factors = DType::float32, product = DType::float32;  // types of A and B, and of C
  bool bias = false;                                         // adds a float32 vector (N) to each row of C
  bool accumulate = false;                                   // C += instead of C =; without bias
};

class MatrixProduct {
 public:
  // With `packs_b`, B is handed in as packed_b() describes, not row by row.
  void create(const MatrixProductSpec& spec, bool packs_b = false);
  // Beyond `used` bytes, which the caller keeps for itself, it may use scratch_bytes() of the context's
  // scratch.
  void run(const Context& context, size_t used, const void* a, const void* b, const float* bias, void* c);
  size_t scratch_bytes() const { return product_.scratch_bytes(); }

  const dnnl::memory::desc& packed_b() const { return b_; }

 private:
  Primitive product_;
  dnnl::memory::desc b_;
};

// C = op(A) op(W) with learned weights, which are float32. They are packed for factors of another type, and
// for products that run many times with the same weights.
class WeightProduct {
 public:
  void create(const MatrixProductSpec& spec, bool packs);
  // The weights as run() wants them; packing may use scratch from its start on.
  const void* weights(const Context& context, Blob& weights) { return packed_.get(context, weights); }
  void run(const Context& context, size_t used, const void* a, const void* weights, const float* bias,
           void* c) {
    product_.run(context, used, a, weights, bias, c);
  }
  size_t scratch_bytes() const { return std::max(product_.scratch_bytes(), packed_.scratch_bytes()); }
  size_t bytes() const { return packed_.bytes(); }

 private:
  MatrixProduct product_;
  PackedWeights packed_;
};

// dW += A^T B, the gradient of weights (M, N) from A (K, M) and B (K, N); overwrites one that is known to be
// zero.
class GradientProduct {
 public:
  void create(int64_t m, int64_t n, int64_t k, DType factors);
  void run(const Context& context, size_t used, const void* a, const void* b, Blob& weights);
  size_t scratch_bytes() const { return std::max(first_.scratch_bytes(), more_.scratch_bytes()); }

 private:
  MatrixProduct first_, more_;
};

}  // namespace caffe
