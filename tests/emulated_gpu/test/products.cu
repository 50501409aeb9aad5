// The emulator's matrix products and convolutions, for the tests in tests/cuda.
#include <vector>

#include "device.hpp"
#include "math/convolution.hpp"
#include "math/matrix_product.hpp"

namespace caffe::cuda::test {
namespace {

// Rounds on the way in, so that the same float32 arrays of the caller serve both types.
template <class T>
struct Rounded : Array<T> {
  Rounded(const float* values, int64_t size)
      : Array<T>(size, std::vector<T>(values, values + size).data()), size(size) {}

  void read(float* to) const {
    std::vector<T> values(static_cast<size_t>(size));
    check(cudaMemcpy(values.data(), this->data, this->bytes, cudaMemcpyDeviceToHost));
    std::copy(values.begin(), values.end(), to);
  }

  int64_t size;
};

int64_t product(const std::vector<int64_t>& factors) {
  int64_t result = 1;
  for (const int64_t factor : factors) result *= factor;
  return result;
}

}  // namespace

// flags: transpose_a, transpose_b, bfloat16, bias, relu, accumulate
EXPORT const char* test_product(const int64_t* sizes, const bool* flags, const float* a, const float* b,
                                const float* bias, float* c) {
  return run([&] {
    MatrixProductSpec spec{sizes[0], sizes[1], sizes[2], flags[0], flags[1]};
    spec.factors = spec.product = flags[2] ? DType::bfloat16 : DType::float32;
    spec.bias = flags[3];
    spec.relu = flags[4];
    spec.accumulate = flags[5];
    dispatch(spec.factors, [&](auto zero) {
      using T = decltype(zero);
      const Stream stream;
      const Rounded<T> left(a, spec.m * spec.k), right(b, spec.k * spec.n), result(c, spec.m * spec.n);
      const Array<float> vector(spec.n, bias);
      make_matrix_product(spec)->run(stream.context(), 0, left.data, right.data, vector.data, result.data);
      stream.wait();
      result.read(c);
    });
  });
}

// A product of 8 x 8 matrices whose first one begins `shift` bytes behind its allocation, called by somebody
// who keeps `used` bytes of the scratch. scratch: its first 300 numbers afterwards.
EXPORT const char* test_product_in_place(int shift, int used, float* scratch) {
  return run([&] {
    const Stream stream;
    const Array<float> a(128), b(64), c(64);
    const void* zeros = stream.scratch.data();
    check(cudaDeviceSynchronize());
    const auto* shifted = reinterpret_cast<const char*>(a.data) + shift;
    make_matrix_product({.m = 8, .n = 8, .k = 8})
        ->run(stream.context(), static_cast<size_t>(used), shifted, b.data, nullptr, c.data);
    stream.wait();
    check(cudaMemcpy(scratch, zeros, 300 * sizeof(float), cudaMemcpyDeviceToHost));
  });
}

// geometry: in, out, kernel, stride, pad, dilation of each axis, one list behind the other.
// flags: bfloat16, bias, addend, relu, accumulates. x, w and y are read or overwritten as the pass (0
// forward, 1 data gradient, 2 weight gradient) says.
EXPORT const char* test_convolution(int pass, const int64_t* sizes, int axes, const int64_t* geometry,
                                    const bool* flags, float* x, float* w, const float* bias,
                                    const float* addend, float* y) {
  return run([&] {
    const auto list = [&](int i) {
      return std::vector<int64_t>(geometry + i * axes, geometry + (i + 1) * axes);
    };
    ConvolutionSpec spec{sizes[0], sizes[1], sizes[2], sizes[3], list(0),
                         list(1),  list(2),  list(3),  list(4),  list(5)};
    spec.dtype = flags[0] ? DType::bfloat16 : DType::float32;
    spec.bias = flags[1];
    spec.addend = flags[2];
    spec.relu = flags[3];
    spec.accumulates = flags[4];
    const int64_t y_size = spec.items * product(spec.out) * spec.outputs;
    dispatch(spec.dtype, [&](auto zero) {
      using T = decltype(zero);
      const Stream stream;
      const Context context = stream.context();
      const Rounded<T> source(x, spec.items * product(spec.in) * spec.channels);
      const Rounded<T> weights(w, spec.outputs * product(spec.kernel) * (spec.channels / spec.group));
      const Rounded<T> sum(addend, y_size), target(y, y_size);
      const Array<float> vector(spec.outputs, bias);
      if (pass == 0)
        make_forward(spec)->run(context, 0, source.data, weights.data, vector.data, sum.data, target.data);
      if (pass == 1) make_data_gradient(spec)->run(context, 0, target.data, weights.data, source.data);
      if (pass == 2) make_weight_gradient(spec)->run(context, 0, source.data, target.data, weights.data);
      stream.wait();
      if (pass == 0) target.read(y);
      if (pass == 1) source.read(x);
      if (pass == 2) weights.read(w);
    });
  });
}

}  // namespace caffe::cuda::test
