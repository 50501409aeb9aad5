// The update of all learnable params on the GPU in one launch; rules as in layers_cpp/solver/update.cpp.
//
// The arrays of all params are listed in a table on the device, and so are chunks of them: each block updates
// a chunk, 16 bytes of each array at a time. What changes with every iteration is read from memory.
#include <cstring>
#include <map>

#include "core/accelerator.hpp"
#include "core/launch.hpp"
#include "core/pack.hpp"
#include "core/reduce.hpp"
#include "solver/update.hpp"

namespace caffe::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kPacks = 4;  // of each array that a thread reads before it computes
constexpr int kPackSize = Pack<float>::count;
constexpr int kChunk = kThreads * kPacks * kPackSize;

// The arrays of a param: (count). `second` is `first` for rules with one history.
struct Arrays {
  float *data, *diff, *first, *second;
  int64_t count;
  float lr_mult, decay_mult;
  int64_t packs;  // whether 16 bytes may be read at once

  bool operator==(const Arrays&) const = default;
};

struct Chunk {
  int32_t param, number;
};

// UpdateSettings as kernels read them.
struct Numbers {
  float rate, momentum, momentum2, rms_decay, delta, weight_decay, adam_correction;
  int32_t l1;
  double gradient_scale;
  double clip_gradients;
};

// A pack of an array. kWhole: it is known to be all there.
template <bool kWhole>
__device__ Pack<float> load(const Arrays& param, const float* from, int64_t begin) {
  if constexpr (kWhole) {
    return load_pack<float>(from + begin);
  } else {
    Pack<float> some = {};
#pragma unroll
    for (int k = 0; k < kPackSize; ++k)
      if (begin + k < param.count) some.at[k] = from[begin + k];
    return some;
  }
}

template <bool kWhole>
__device__ void store(const Arrays& param, float* to, int64_t begin, const Pack<float>& values) {
  if constexpr (kWhole) {
    store_pack(to + begin, values);
  } else {
#pragma unroll
    for (int k = 0; k < kPackSize; ++k)
      if (begin + k < param.count) to[begin + k] = values.at[k];
  }
}

// Whether all packs of the chunk are whole and may be read at once.
__device__ bool is_whole(const Arrays& param, const Chunk& chunk) {
  return param.packs && (static_cast<int64_t>(chunk.number) + 1) * kChunk <= param.count;
}

// Where the thread's k-th pack of the block's chunk begins in the arrays.
__device__ int64_t pack_begin(const Chunk& chunk, int k) {
  return static_cast<int64_t>(chunk.number) * kChunk + (k * kThreads + threadIdx.x) * kPackSize;
}

__device__ float sign(float value) { return static_cast<float>((value > 0) - (value < 0)); }

// The rules: change of a weight from its gradient, which is scaled and regularised already, and its history.

struct SGD {
  static constexpr bool two_histories = false;
  __device__ static float change(const Numbers& s, float rate, float gradient, float& history, float&) {
    return history = s.momentum * history + rate * gradient;
  }
};

struct Nesterov {
  static constexpr bool two_histories = false;
  __device__ static float change(const Numbers& s, float rate, float gradient, float& history, float&) {
    const float before = history;
    history = s.momentum * before + rate * gradient;
    return (1 + s.momentum) * history - s.momentum * before;
  }
};

struct AdaGrad {
  static constexpr bool two_histories = false;
  __device__ static float change(const Numbers& s, float rate, float gradient, float& history, float&) {
    history += gradient * gradient;
    return rate * gradient / (sqrtf(history) + s.delta);
  }
};

struct RMSProp {
  static constexpr bool two_histories = false;
  __device__ static float change(const Numbers& s, float rate, float gradient, float& history, float&) {
    history = s.rms_decay * history + (1 - s.rms_decay) * gradient * gradient;
    return rate * gradient / (sqrtf(history) + s.delta);
  }
};

struct AdaDelta {
  static constexpr bool two_histories = true;
  __device__ static float change(const Numbers& s, float rate, float gradient, float& squares,
                                 float& updates) {
    squares = s.momentum * squares + (1 - s.momentum) * gradient * gradient;
    const float step = gradient * sqrtf((updates + s.delta) / (squares + s.delta));
    updates = s.momentum * updates + (1 - s.momentum) * step * step;
    return rate * step;
  }
};

struct Adam {
  static constexpr bool two_histories = true;
  __device__ static float change(const Numbers& s, float rate, float gradient, float& mean, float& variance) {
    mean = s.momentum * mean + (1 - s.momentum) * gradient;
    variance = s.momentum2 * variance + (1 - s.momentum2) * gradient * gradient;
    return rate * s.adam_correction * mean / (sqrtf(variance) + s.delta);
  }
};

template <class Rule, bool kWhole>
__device__ void update_chunk(const Arrays& param, const Chunk& chunk, const Numbers& s) {
  const float rate = s.rate * param.lr_mult, decay = s.weight_decay * param.decay_mult;
  const bool l1 = s.l1 && decay != 0;
  const auto scale = static_cast<float>(s.gradient_scale);
  Pack<float> data[kPacks], diff[kPacks], first[kPacks], second[kPacks] = {};
#pragma unroll
  for (int k = 0; k < kPacks; ++k) {
    const int64_t begin = pack_begin(chunk, k);
    data[k] = load<kWhole>(param, param.data, begin);
    diff[k] = load<kWhole>(param, param.diff, begin);
    first[k] = load<kWhole>(param, param.first, begin);
    if constexpr (Rule::two_histories) second[k] = load<kWhole>(param, param.second, begin);
  }
#pragma unroll
  for (int k = 0; k < kPacks; ++k) {
#pragma unroll
    for (int i = 0; i < kPackSize; ++i) {
      const float weight = data[k].at[i];
      const float gradient = scale * diff[k].at[i] + decay * (l1 ? sign(weight) : weight);
      const float change = Rule::change(s, rate, gradient, first[k].at[i], second[k].at[i]);
      diff[k].at[i] = change;
      data[k].at[i] = weight - change;
    }
    const int64_t begin = pack_begin(chunk, k);
    store<kWhole>(param, param.data, begin, data[k]);
    store<kWhole>(param, param.diff, begin, diff[k]);
    store<kWhole>(param, param.first, begin, first[k]);
    if constexpr (Rule::two_histories) store<kWhole>(param, param.second, begin, second[k]);
  }
}

// chunks: (gridDim.x)
template <class Rule>
__global__ void __launch_bounds__(kThreads)
    update_kernel(const Arrays* params, const Chunk* chunks, const Numbers* numbers) {
  const Chunk chunk = chunks[blockIdx.x];
  const Arrays param = params[chunk.param];
  const Numbers s = *numbers;
  if (is_whole(param, chunk))
    update_chunk<Rule, true>(param, chunk, s);
  else
    update_chunk<Rule, false>(param, chunk, s);
}

template <bool kWhole>
__device__ double squared_gradients(const Arrays& param, const Chunk& chunk) {
  Pack<float> diff[kPacks];
#pragma unroll
  for (int k = 0; k < kPacks; ++k) diff[k] = load<kWhole>(param, param.diff, pack_begin(chunk, k));
  double sum = 0;
#pragma unroll
  for (int k = 0; k < kPacks; ++k)
#pragma unroll
    for (int i = 0; i < kPackSize; ++i) {
      const double gradient = diff[k].at[i];
      sum += gradient * gradient;
    }
  return sum;
}

// chunks, parts: (gridDim.x). parts = sum of the squared gradients of each chunk
__global__ void __launch_bounds__(kThreads)
    squared_gradients_kernel(const Arrays* params, const Chunk* chunks, double* parts) {
  __shared__ double shared[kThreads / kWarp];
  const Chunk chunk = chunks[blockIdx.x];
  const Arrays param = params[chunk.param];
  const double mine =
      is_whole(param, chunk) ? squared_gradients<true>(param, chunk) : squared_gradients<false>(param, chunk);
  const double sum = block_sum(mine, shared);
  if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}

// parts: (count), sum: one. One block.
__global__ void __launch_bounds__(kThreads) sum_kernel(const double* parts, int count, double* sum) {
  __shared__ double shared[kThreads / kWarp];
  double mine = 0;
  for (int i = threadIdx.x; i < count; i += kThreads) mine += parts[i];
  mine = block_sum(mine, shared);
  if (threadIdx.x == 0) *sum = mine;
}

// One thread: the norm of the gradients from the sum of their squares, and clipping into the scale.
__global__ void clip_kernel(const double* sum, double* norm, Numbers* numbers) {
  *norm = sqrt(*sum);
  numbers->gradient_scale *= clip_factor(*norm, numbers->clip_gradients);
}

using Kernel = void (*)(const Arrays*, const Chunk*, const Numbers*);

Kernel kernel_of(const std::string& rule) {
  static const std::map<std::string, Kernel> kernels = {
      {"SGD", update_kernel<SGD>},           {"Nesterov", update_kernel<Nesterov>},
      {"AdaGrad", update_kernel<AdaGrad>},   {"RMSProp", update_kernel<RMSProp>},
      {"AdaDelta", update_kernel<AdaDelta>}, {"Adam", update_kernel<Adam>}};
  return kernels.at(rule);
}

// Where all arrays are, and which block works on which part of them.
class Table {
 public:
  // Writes the table anew if an array has moved. Not while work is recorded.
  void update(const std::vector<Arrays>& params) {
    if (params == params_) return;
    params_ = params;
    std::vector<Chunk> chunks;
    for (size_t i = 0; i < params.size(); ++i)
      for (int64_t begin = 0; begin < params[i].count; begin += kChunk)
        chunks.push_back({static_cast<int32_t>(i), static_cast<int32_t>(begin / kChunk)});
    chunks_ = static_cast<int64_t>(chunks.size());
    write(on_device_params_, params);
    write(on_device_chunks_, chunks);
  }

  const Arrays* params() { return static_cast<const Arrays*>(on_device_params_.data()); }
  const Chunk* chunks() { return static_cast<const Chunk*>(on_device_chunks_.data()); }
  int64_t size() const { return chunks_; }  // in chunks
  Grid grid() const { return {dim3(static_cast<unsigned>(chunks_)), dim3(kThreads)}; }

 private:
  template <class T>
  static void write(Storage& to, const std::vector<T>& values) {
    to.reserve(values.size() * sizeof(T));
    if (!values.empty()) std::memcpy(to.host_data(), values.data(), values.size() * sizeof(T));
    to.host_wrote();
  }

  std::vector<Arrays> params_;
  int64_t chunks_ = 0;
  Storage on_device_params_{Device::cuda}, on_device_chunks_{Device::cuda};
};

class CudaUpdater : public Updater {
 public:
  CudaUpdater(const std::string& rule, Blobs params, std::vector<float> lr_mults,
              std::vector<float> decay_mults)
      : Updater(rule, std::move(params), std::move(lr_mults), std::move(decay_mults), Device::cuda),
        kernel_(kernel_of(rule)) {
    numbers_.reserve(sizeof(Numbers));
    sum_.reserve(sizeof(double));
  }

  void send(const UpdateSettings& settings) override {
    publish();
    const Numbers numbers{.rate = settings.rate,
                          .momentum = settings.momentum,
                          .momentum2 = settings.momentum2,
                          .rms_decay = settings.rms_decay,
                          .delta = settings.delta,
                          .weight_decay = settings.weight_decay,
                          .adam_correction = adam_correction(settings),
                          .l1 = settings.l1,
                          .gradient_scale = settings.gradient_scale,
                          .clip_gradients = settings.clip_gradients};
    clips_ = settings.clip_gradients >= 0;
    accelerator().store(numbers_.overwrite(), &numbers, sizeof numbers);
  }

  void apply() override {
    table_.update(arrays());
    auto* numbers = static_cast<Numbers*>(numbers_.data());
    if (clips_) {
      sum_squares();
      launch(context(), "clip", {dim3(1), dim3(1)}, clip_kernel, static_cast<const double*>(sum_.data()),
             static_cast<double*>(norm_.overwrite()), numbers);
    }
    launch(context(), "update", table_.grid(), kernel_, table_.params(), table_.chunks(), numbers);
  }

  double squared_gradient_norm() override {
    publish();
    table_.update(arrays());
    sum_squares();
    sum_.device_wrote();
    return *static_cast<const double*>(sum_.host_data());
  }

 private:
  void sum_squares() {
    parts_.reserve(static_cast<size_t>(table_.size()) * sizeof(double));
    auto* parts = static_cast<double*>(parts_.overwrite());
    launch(context(), "squared_gradients", table_.grid(), squared_gradients_kernel, table_.params(),
           table_.chunks(), parts);
    launch(context(), "sum", {dim3(1), dim3(kThreads)}, sum_kernel, parts, table_.size(),
           static_cast<double*>(sum_.overwrite()));
  }

  // Takes over what the host has written.
  void publish() {
    for (const BlobPtr& param : params_) {
      param->data_storage().publish();
      param->diff_storage().publish();
    }
    for (const BlobPtr& blob : history_) blob->data_storage().publish();
  }

  std::vector<Arrays> arrays() const {
    std::vector<Arrays> arrays;
    for (size_t i = 0; i < params_.size(); ++i) {
      Arrays param{.data = params_[i]->data(),
                   .diff = params_[i]->diff(),
                   .first = history_[i]->data(),
                   .second = second_history(i).data(),
                   .count = params_[i]->count(),
                   .lr_mult = lr_mults_[i],
                   .decay_mult = decay_mults_[i],
                   .packs = 0};
      param.packs = packable(param.data, param.diff, param.first, param.second);
      arrays.push_back(param);
    }
    return arrays;
  }

  static Context context() {
    Context context{};
    context.stream = accelerator().stream();
    return context;
  }

  const Kernel kernel_;
  bool clips_ = false;
  Table table_;
  Storage numbers_{Device::cuda}, parts_{Device::cuda}, sum_{Device::cuda};
};

const bool registered = [] {
  register_cuda_updater([](const std::string& rule, Blobs params, std::vector<float> lr_mults,
                           std::vector<float> decay_mults) -> std::unique_ptr<Updater> {
    return std::make_unique<CudaUpdater>(rule, std::move(params), std::move(lr_mults),
                                         std::move(decay_mults));
  });
  return true;
}();

}  // namespace
}  // namespace caffe::cuda
