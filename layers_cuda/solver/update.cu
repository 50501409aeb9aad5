// The update of all learnable params on the GPU in one launch. What changes with every iteration is read from
// memory.
#include "core/accelerator.hpp"
#include "core/reduce.hpp"
#include "solver/param_table.hpp"
#include "solver/update.hpp"

namespace caffe::cuda {
namespace {

using rules::Numbers;

__device__ float sign(float value) { return static_cast<float>((value > 0) - (value < 0)); }

template <class Rule, bool kWhole>
__device__ void update_chunk(const ParamArrays& param, const Chunk& chunk, const Numbers& s) {
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
__global__ void __launch_bounds__(kChunkThreads)
    update_kernel(const ParamArrays* params, const Chunk* chunks, const Numbers* numbers) {
  const Chunk chunk = chunks[blockIdx.x];
  const ParamArrays param = params[chunk.param];
  const Numbers s = *numbers;
  if (is_whole(param, chunk))
    update_chunk<Rule, true>(param, chunk, s);
  else
    update_chunk<Rule, false>(param, chunk, s);
}

template <bool kWhole>
__device__ double squared_gradients(const ParamArrays& param, const Chunk& chunk) {
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
__global__ void __launch_bounds__(kChunkThreads)
    squared_gradients_kernel(const ParamArrays* params, const Chunk* chunks, double* parts) {
  __shared__ double shared[kChunkThreads / kWarp];
  const Chunk chunk = chunks[blockIdx.x];
  const ParamArrays param = params[chunk.param];
  const double mine =
      is_whole(param, chunk) ? squared_gradients<true>(param, chunk) : squared_gradients<false>(param, chunk);
  const double sum = block_sum(mine, shared);
  if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}

// parts: (count), sum: one. One block.
__global__ void __launch_bounds__(kChunkThreads) sum_kernel(const double* parts, int count, double* sum) {
  __shared__ double shared[kChunkThreads / kWarp];
  double mine = 0;
  for (int i = threadIdx.x; i < count; i += kChunkThreads) mine += parts[i];
  mine = block_sum(mine, shared);
  if (threadIdx.x == 0) *sum = mine;
}

// One thread: the norm of the gradients from the sum of their squares, and clipping into the scale.
__global__ void clip_kernel(const double* sum, double* norm, Numbers* numbers) {
  *norm = sqrt(*sum);
  numbers->gradient_scale *= clip_factor(*norm, numbers->clip_gradients);
}

using Kernel = void (*)(const ParamArrays*, const Chunk*, const Numbers*);

Kernel kernel_of(const std::string& rule) {
  return rules::of_rule(rule, [](auto each) -> Kernel { return update_kernel<decltype(each)>; });
}

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
    const Numbers numbers = numbers_of(settings);
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

  bool recordable() const override { return true; }

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
    launch(context(), "sum", {dim3(1), dim3(kChunkThreads)}, sum_kernel, parts, table_.size(),
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

  std::vector<ParamArrays> arrays() const {
    std::vector<ParamArrays> arrays;
    for (size_t i = 0; i < params_.size(); ++i) {
      ParamArrays param{.data = params_[i]->data(),
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
  ParamTable table_;
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
