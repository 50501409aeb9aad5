// The kernel that follows convolutions and products, for the tests in tests/cuda.
#include <vector>

#include "device.hpp"
#include "math/bias_relu.cu"

namespace caffe::cuda::test {

// y and addend: (rows, channels), rounded to bfloat16 on the way in if asked for; bias and addend may be
// null.
EXPORT const char* test_bias_relu(int64_t rows, int64_t channels, bool bfloat16, const float* bias,
                                  const float* addend, bool relu, float* y) {
  return run([&] {
    const DType type = bfloat16 ? DType::bfloat16 : DType::float32;
    const int64_t count = rows * channels;
    dispatch(type, [&](auto zero) {
      using T = decltype(zero);
      std::vector<T> sums(y, y + count), summands(count);
      if (addend) summands.assign(addend, addend + count);
      const Stream stream;
      const Array<float> shift(channels, bias ? bias : y);
      const Array<T> more(count, summands.data()), result(count, sums.data());
      add_bias_relu(stream.context(), type, rows, channels, bias ? shift.data : nullptr,
                    addend ? more.data : nullptr, relu, result.data);
      result.download(sums.data(), stream);
      stream.wait();
      std::copy(sums.begin(), sums.end(), y);
    });
  });
}

}  // namespace caffe::cuda::test
