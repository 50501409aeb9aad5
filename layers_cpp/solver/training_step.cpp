#include "solver/training_step.hpp"

#include <cstring>
#include <stdexcept>

namespace caffe {
namespace {

struct WeightedTop {
  Blob* blob;
  float weight;
};

std::vector<WeightedTop> weighted_tops(const Executor& executor) {
  std::vector<WeightedTop> tops;
  for (size_t i = 0; i < executor.size(); ++i) {
    const Step& step = executor.step(i);
    for (size_t k = 0; k < step.tops.size(); ++k)
      if (step.loss_weights[k] != 0.0f) tops.push_back({step.tops[k].get(), step.loss_weights[k]});
  }
  return tops;
}

}  // namespace

int64_t TrainingStep::run(const UpdateSettings& settings) {
  const size_t end = executor_.size(), first = executor_.unrecordable(0, end, true);
  executor_.before_run();
  updater_.clear_gradients();
  executor_.queue_forward(0, first);
  updater_.send(settings);
  const auto work = [&] {
    executor_.queue_forward(first, end);
    executor_.queue_backward(0, end);
    updater_.apply();
  };
  if (first < end)
    work_.run(executor_.fingerprint(first, end, false), executor_.storages(), work);
  else
    work();
  updater_.touch();
  queue_result(results_[runs_ % kAhead]);
  executor_.after_run();
  return runs_++;
}

void TrainingStep::queue_result(Result& result) {
  const std::vector<WeightedTop> tops = weighted_tops(executor_);
  size_t bytes = sizeof(Complaint);
  result.tops.clear();
  for (const auto& [blob, weight] : tops) {
    result.tops.push_back({weight, blob->count(), blob->dtype()});
    bytes += blob->bytes();
  }
  if (bytes > result.bytes) {
    result.memory = {accelerator().allocate_host(bytes),
                     [](void* memory) { accelerator().release_host(memory); }};
    result.bytes = bytes;
  }
  char* to = static_cast<char*>(result.memory.get());
  accelerator().download(to, executor_.complaint(), sizeof(Complaint));
  to += sizeof(Complaint);
  for (const auto& [blob, weight] : tops) {
    if (blob->device() == Device::cuda)
      accelerator().download(to, blob->data(), blob->bytes());
    else
      std::memcpy(to, blob->data(), blob->bytes());
    to += blob->bytes();
  }
  result.done = accelerator().mark();
}

double TrainingStep::loss(int64_t iteration) {
  Result& result = results_[iteration % kAhead];
  if (iteration < runs_ - kAhead || iteration >= runs_)
    throw std::logic_error("the loss of that iteration is not kept");
  result.done->wait();
  const auto* complaint = static_cast<const Complaint*>(result.memory.get());
  if (complaint->kind != Complaint::none) executor_.refuse(*complaint);
  const void* values = complaint + 1;
  double loss = 0;
  for (const auto& [weight, count, dtype] : result.tops)
    values = dispatch(dtype, [&](auto zero) -> const void* {
      const auto* value = static_cast<const decltype(zero)*>(values);
      for (int64_t i = 0; i < count; ++i) loss += weight * static_cast<double>(value[i]);
      return value + count;
    });
  return loss;
}

}  // namespace caffe
