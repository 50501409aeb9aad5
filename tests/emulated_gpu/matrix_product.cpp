// math/matrix_product.hpp on the emulated device: the sums as they are defined, in double.
#include "math/matrix_product.hpp"

#include <algorithm>

#include "library.hpp"

namespace caffe::cuda {
namespace {

template <class Factor, class Product>
void multiply(const MatrixProductSpec& s, const Factor* a, const Factor* b, const float* bias, Product* c) {
  for (int64_t i = 0; i < s.m; ++i)
    for (int64_t j = 0; j < s.n; ++j) {
      double sum = s.accumulate ? static_cast<float>(c[i * s.n + j]) : 0.0f;
      for (int64_t k = 0; k < s.k; ++k)
        sum += static_cast<double>(a[s.transpose_a ? k * s.m + i : i * s.k + k]) *
               static_cast<double>(b[s.transpose_b ? j * s.k + k : k * s.n + j]);
      if (s.bias) sum += bias[j];
      if (s.relu) sum = std::max(sum, 0.0);
      c[i * s.n + j] = static_cast<float>(sum);
    }
}

class EmulatedProduct final : public MatrixProduct {
 public:
  explicit EmulatedProduct(const MatrixProductSpec& spec) : spec_(spec) {}

  void run(const Context& context, size_t used, const void* a, const void* b, const float* bias,
           void* c) override {
    const auto work = [=, spec = spec_] {
      dispatch(spec.factors, [&](auto factor) {
        dispatch(spec.product, [&](auto product) {
          using Factor = decltype(factor);
          using Product = decltype(product);
          multiply(spec, static_cast<const Factor*>(a), static_cast<const Factor*>(b), bias,
                   static_cast<Product*>(c));
        });
      });
    };
    queue_call(context, "matrix product", used, {a, b, bias, c}, work, spec_.alignment);
  }

  size_t scratch_bytes() const override { return scratch_size(kLibraryScratch); }

 private:
  MatrixProductSpec spec_;
};

}  // namespace

std::unique_ptr<MatrixProduct> make_matrix_product(const MatrixProductSpec& spec) {
  return std::make_unique<EmulatedProduct>(spec);
}

}  // namespace caffe::cuda
