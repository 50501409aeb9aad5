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

// From either device; `to` is filled after a wait.
void queue_copy(void* to, Storage& from, size_t bytes) {
  if (from.device() == Device::cuda)
    accelerator().download(to, from.data(), bytes);
  else
    std::memcpy(to, from.data(), bytes);
}

}  // namespace

int64_t TrainingStep::run(const UpdateSettings& settings, int64_t passes) {
  if (passes < 1) throw std::invalid_argument("an iteration has one pass or more");
  const bool clips = settings.clip_gradients >= 0;
  Result& result = results_[runs_ % kAhead];
  result.passes.resize(static_cast<size_t>(passes));
  repeated_ = true;
  updater_.clear_gradients();
  updater_.send(settings);
  for (int64_t pass = 0; pass < passes; ++pass) {
    executor_.iteration = static_cast<uint64_t>(settings.iteration * passes + pass);
    run_pass(pass == 0, pass + 1 == passes, clips);
    queue_result(result.passes[static_cast<size_t>(pass)]);
    executor_.after_run();
  }
  queue_norm(result, clips);
  result.done = accelerator().mark();
  return runs_++;
}

void TrainingStep::run_pass(bool is_first, bool is_last, bool clips) {
  const size_t end = executor_.size(), first = executor_.unrecordable(0, end, true);
  executor_.before_run();
  const bool update_recorded = is_last && updater_.recordable();
  if (first < end) {
    executor_.queue_forward(0, first);
    RepeatedWork& work = works_[is_first][is_last];
    work.run(mix(executor_.fingerprint(first, end, false), clips), executor_.storages(), [&] {
      executor_.queue_forward(first, end);
      executor_.queue_backward(0, end);
      if (update_recorded) updater_.apply();
    });
    repeated_ &= work.repeated();
  } else {
    // A step in the middle cannot be recorded: what is before and behind it is, in pieces.
    const int variant = is_first ? 1 : 2;
    repeated_ &= executor_.run_forward(0, end, variant, false);
    repeated_ &= executor_.run_backward(0, end, variant);
  }
  if (!is_last) return;
  if (first == end || !update_recorded) updater_.apply();
  updater_.touch();
}

void TrainingStep::queue_result(PassResult& result) {
  const std::vector<WeightedTop> tops = weighted_tops(executor_);
  size_t bytes = sizeof(Complaint);
  result.tops.clear();
  for (const auto& [blob, weight] : tops) {
    result.tops.push_back({weight, blob->count(), blob->dtype()});
    bytes += blob->bytes();
  }
  if (bytes > result.bytes) {
    result.memory = allocate_pinned(bytes);
    result.bytes = bytes;
  }
  char* to = static_cast<char*>(result.memory.get());
  accelerator().download(to, executor_.complaint(), sizeof(Complaint));
  to += sizeof(Complaint);
  for (const auto& [blob, weight] : tops) {
    queue_copy(to, blob->data_storage(), blob->bytes());
    to += blob->bytes();
  }
}

void TrainingStep::queue_norm(Result& result, bool clips) {
  if (!clips) {
    result.norm.reset();
    return;
  }
  if (!result.norm) result.norm = allocate_pinned(sizeof(double));
  queue_copy(result.norm.get(), updater_.norm(), sizeof(double));
}

TrainingStep::Outcome TrainingStep::wait(int64_t iteration) {
  if (iteration < 0 || iteration < runs_ - kAhead || iteration >= runs_)
    throw std::logic_error("the outcome of that iteration is not kept");
  Result& result = results_[iteration % kAhead];
  result.done->wait();
  double loss = 0;
  for (const PassResult& pass : result.passes) loss += loss_of(pass);
  return {.loss = loss / static_cast<double>(result.passes.size()),
          .gradient_norm = result.norm ? *static_cast<const double*>(result.norm.get()) : 0};
}

double TrainingStep::loss_of(const PassResult& result) {
  const auto* complaint = static_cast<const Complaint*>(result.memory.get());
  if (complaint->code != 0) executor_.refuse(*complaint);
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
