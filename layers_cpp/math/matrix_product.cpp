#include "math/matrix_product.hpp"

#include <array>

namespace caffe {
namespace {

using dnnl::matmul;
using Desc = dnnl::memory::desc;

// A matrix stored row by row, or the transpose of one.
Desc matrix(int64_t rows, int64_t columns, bool transposed, DType type) {
  if (!transposed) return describe_plain({rows, columns}, type);
  describe_plain({columns, rows}, type);  // refuses what is too large
  return {{rows, columns}, onednn_type(type), dnnl::memory::dims{1, rows}};
}

}  // namespace

void MatrixProduct::create(const MatrixProductSpec& spec, bool packs_b) {
  const Desc a = matrix(spec.m, spec.k, spec.transpose_a, spec.factors);
  const Desc b = packs_b ? describe_any({spec.k, spec.n}, spec.factors)
                         : matrix(spec.k, spec.n, spec.transpose_b, spec.factors);
  const Desc c = matrix(spec.m, spec.n, false, spec.product);
  const Desc bias = describe_plain({1, spec.n}, DType::float32);
  dnnl::primitive_attr attr = default_attr();
  if (spec.accumulate) {
    dnnl::post_ops sum;
    sum.append_sum(1.0f);
    attr.set_post_ops(sum);
  }
  const auto desc = spec.bias ? matmul::primitive_desc(cpu_engine(), a, b, bias, c, attr)
                              : matmul::primitive_desc(cpu_engine(), a, b, c, attr);
  b_ = desc.weights_desc();
  std::vector<std::pair<int, Desc>> arguments{{DNNL_ARG_SRC, a}, {DNNL_ARG_WEIGHTS, b_}, {DNNL_ARG_DST, c}};
  if (spec.bias) arguments.emplace_back(DNNL_ARG_BIAS, bias);
  product_.create(desc, arguments);
}

void MatrixProduct::run(const Context& context, size_t used, const void* a, const void* b, const float* bias,
                        void* c) {
  const std::array<void*, 4> pointers{const_cast<void*>(a), const_cast<void*>(b), c,
                                      const_cast<float*>(bias)};
  product_.execute(context, std::span(pointers.data(), bias ? 4 : 3), used);
}

void WeightProduct::create(const MatrixProductSpec& spec, bool packs) {
  product_.create(spec, packs || spec.factors != DType::float32);
  packed_.create(matrix(spec.k, spec.n, spec.transpose_b, DType::float32), product_.packed_b());
}

void GradientProduct::create(int64_t m, int64_t n, int64_t k, DType factors) {
  MatrixProductSpec spec{.m = m, .n = n, .k = k, .transpose_a = true, .factors = factors};
  first_.create(spec);
  spec.accumulate = true;
  more_.create(spec);
}

void GradientProduct::run(const Context& context, size_t used, const void* a, const void* b, Blob& weights) {
  Storage& gradient = weights.diff_storage();
  const bool more = !gradient.zero();
  void* sum = more ? gradient.data() : gradient.overwrite();
  (more ? more_ : first_).run(context, used, a, b, nullptr, sum);
}

}  // namespace caffe
