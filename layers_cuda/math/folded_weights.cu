// One block for each output channel.
#include "core/launch.hpp"
#include "math/folded_weights.hpp"

namespace caffe::cuda {
namespace {

constexpr int kThreads = 256;

// What is folded; bias, scale and shift may be null.
struct Statistics {
  const float *mean, *variance, *factor, *bias, *scale, *shift;
};

// plain, weights: (gridDim.x, inputs), new_bias and all statistics but factor: (gridDim.x)
template <class T>
__global__ void fold_batch_norm_kernel(const float* plain, Statistics of, float eps, int inputs, T* weights,
                                       float* new_bias) {
  const unsigned o = blockIdx.x;
  const float inverse = *of.factor == 0 ? 0 : 1 / *of.factor;
  const float a = (of.scale ? of.scale[o] : 1.0f) / sqrtf(inverse * of.variance[o] + eps);
  const int64_t begin = static_cast<int64_t>(o) * inputs;
  for (int i = threadIdx.x; i < inputs; i += kThreads) weights[begin + i] = a * plain[begin + i];
  if (threadIdx.x != 0) return;
  const float bias = of.bias ? of.bias[o] : 0.0f, shift = of.shift ? of.shift[o] : 0.0f;
  new_bias[o] = a * (bias - inverse * of.mean[o]) + shift;
}

}  // namespace

void FoldedWeights::create(const Blobs& params, bool has_bias, bool has_scale, float eps, DType dtype) {
  params_ = params;
  has_bias_ = has_bias;
  has_scale_ = has_scale;
  eps_ = eps;
  dtype_ = dtype;
  fresh_.assign(params.size(), Freshness());
  weights_.reserve(static_cast<size_t>(params[0]->count()) * size_of(dtype));
  bias_.reserve(static_cast<size_t>(params[0]->dim(0)) * sizeof(float));
}

bool FoldedWeights::stale() {
  bool stale = false;
  for (size_t i = 0; i < params_.size(); ++i) stale |= fresh_[i].stale(params_[i]->data_storage());
  return stale;
}

void FoldedWeights::update(const Context& context) {
  if (!stale()) return;
  const size_t first = has_bias_ ? 2 : 1;
  const auto data = [&](size_t i, bool given = true) { return given ? params_[i]->data() : nullptr; };
  const Statistics statistics{.mean = data(first),
                              .variance = data(first + 1),
                              .factor = data(first + 2),
                              .bias = data(1, has_bias_),
                              .scale = data(first + 3, has_scale_),
                              .shift = data(first + 4, has_scale_)};
  const int64_t outputs = params_[0]->dim(0), inputs = params_[0]->count() / outputs;
  const Grid grid{dim3(static_cast<unsigned>(outputs)), dim3(kThreads)};
  dispatch(dtype_, [&](auto zero) {
    using T = decltype(zero);
    launch(context, "fold_batch_norm", grid, fold_batch_norm_kernel<T>, params_[0]->data(), statistics, eps_,
           inputs, static_cast<T*>(weights_.overwrite()), static_cast<float*>(bias_.overwrite()));
  });
}

}  // namespace caffe::cuda
