#include "math/pointwise_convolution.hpp"

#include <algorithm>
#include <array>

#include "core/parallel.hpp"
#include "math/elementwise.hpp"
#include "math/panel_product.hpp"

namespace caffe {
namespace {

// Positions whose rows are copied together: enough to load and store the gradient seldom, few enough for the
// cache.
constexpr int64_t kDepth = 128;

struct Map {
  int64_t channels, height, width;
};
Map map_of(const Blob& blob) { return {blob.dim(1), blob.dim(2), blob.dim(3)}; }

class PointwiseWeightGradient : public ConvolutionWeightGradient {
 public:
  explicit PointwiseWeightGradient(const ConvolutionSpec& spec)
      : images_(spec.bottom->dim(0)),
        x_(map_of(*spec.bottom)),
        y_(map_of(*spec.top)),
        stride_{spec.stride[0], spec.stride[1]} {}

  // Threads share out the positions: each adds up a gradient of its own from what it reads in order.
  void run(const Context&, Scratch scratch, void* x, void* dy, Blob* weights, Blob* bias) override {
    auto* buffers = scratch.take<float>(scratch_bytes());
    parallel_for(threads(), 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t thread = begin; thread < end; ++thread)
        learn(static_cast<const float*>(x), static_cast<const float*>(dy), positions() * thread / threads(),
              positions() * (thread + 1) / threads(), Buffers(*this, buffers + thread * thread_floats()));
    });
    for (int64_t thread = 0; thread < threads(); ++thread) {
      const Buffers own(*this, buffers + thread * thread_floats());
      if (weights) add_gradient(own.gradient, weights->diff_storage());
      if (bias) add_to(bias->diff(), own.sums, y_.channels);
    }
  }

  size_t scratch_bytes() const override {
    return static_cast<size_t>(threads() * thread_floats()) * sizeof(float);
  }

 private:
  // What a thread writes: copied rows of x and dy, its gradient, its sums of dy.
  struct Buffers {
    Matrix inputs, diffs, gradient;
    float* sums;
    Buffers(const PointwiseWeightGradient& layer, float* data)
        : inputs{data, row_stride(layer.x_.channels)},
          diffs{inputs.data + kDepth * inputs.stride, row_stride(layer.y_.channels)},
          gradient{diffs.data + kDepth * diffs.stride, inputs.stride},
          sums(gradient.data + layer.y_.channels * gradient.stride) {}
  };

  static int64_t threads() { return max_threads(); }
  int64_t positions() const { return images_ * y_.height * y_.width; }
  int64_t thread_floats() const {
    const int64_t input = row_stride(x_.channels), diff = row_stride(y_.channels);
    return kDepth * (input + diff) + y_.channels * input + diff;
  }

  void learn(const float* x, const float* dy, int64_t begin, int64_t end, const Buffers& own) const {
    std::fill_n(own.gradient.data, y_.channels * own.gradient.stride, 0.0f);
    std::fill_n(own.sums, y_.channels, 0.0f);
    for (int64_t first = begin; first < end; first += kDepth) {
      const int64_t depth = std::min(kDepth, end - first);
      copy_inputs(x, first, depth, own.inputs);
      copy_diffs(dy, first, depth, own);
      for (int64_t channel = 0; channel < x_.channels; channel += kPanelVectors * kLanes)
        multiply_panel<true>(y_.channels, depth, panel_vectors(x_.channels - channel),
                             {own.diffs.data, own.diffs.stride},
                             {own.inputs.data + channel, own.inputs.stride},
                             {own.gradient.data + channel, own.gradient.stride}, /*accumulate=*/true);
    }
  }

  void copy_inputs(const float* x, int64_t first, int64_t depth, const Matrix& inputs) const {
    for (int64_t k = 0; k < depth; ++k) {
      const int64_t position = first + k, column = position % y_.width, row = position / y_.width % y_.height,
                    image = position / (y_.width * y_.height);
      const int64_t pixel = (image * x_.height + row * stride_[0]) * x_.width + column * stride_[1];
      std::copy_n(x + pixel * x_.channels, x_.channels, inputs.data + k * inputs.stride);
    }
  }

  void copy_diffs(const float* dy, int64_t first, int64_t depth, const Buffers& own) const {
    for (int64_t k = 0; k < depth; ++k) {
      const float* from = dy + (first + k) * y_.channels;
      float* to = own.diffs.data + k * own.diffs.stride;
#pragma omp simd
      for (int64_t o = 0; o < y_.channels; ++o) {
        to[o] = from[o];
        own.sums[o] += from[o];
      }
    }
  }

  void add_gradient(const Matrix& gradient, Storage& diff) const {
    const bool add = !diff.zero();
    auto* dw = static_cast<float*>(add ? diff.data() : diff.overwrite());
    parallel_for(y_.channels, 64, [&](int64_t begin, int64_t end, int) {
      for (int64_t o = begin; o < end; ++o) {
        const float* from = gradient.data + o * gradient.stride;
        float* to = dw + o * x_.channels;
#pragma omp simd
        for (int64_t c = 0; c < x_.channels; ++c) to[c] = (add ? to[c] : 0.0f) + from[c];
      }
    });
  }

  const int64_t images_;
  const Map x_, y_;
  const std::array<int64_t, 2> stride_;
};

bool applies(const ConvolutionSpec& spec) {
  return spec.axis == 1 && spec.kernel == std::vector<int64_t>{1, 1} &&
         spec.pad == std::vector<int64_t>{0, 0} && spec.group == 1 &&
         spec.bottom->dtype() == DType::float32 && spec.bottom->layout() == Layout::channels_last;
}

// Measured on two cores with AVX-512 against oneDNN's kernels.
bool pays(const Map& x, const Map& y, int64_t images) {
  const bool many_positions = images * y.height * y.width >= 2048;
  return many_positions && (y.channels >= 2 * x.channels || y.channels <= 32);
}

}  // namespace

std::unique_ptr<ConvolutionWeightGradient> make_pointwise_weight_gradient(const ConvolutionSpec& spec) {
  if (!applies(spec) || !pays(map_of(*spec.bottom), map_of(*spec.top), spec.bottom->dim(0))) return nullptr;
  return std::make_unique<PointwiseWeightGradient>(spec);
}

}  // namespace caffe
