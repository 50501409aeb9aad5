// One iteration of training: gradients cleared, forward, backward, update. On the GPU it is queued and
// recorded as a whole, and the host may go on to the next one before the loss of this one is known.
#pragma once

#include "core/executor.hpp"
#include "solver/update.hpp"

namespace caffe {

class TrainingStep {
 public:
  // Both must live as long as this.
  TrainingStep(Executor& executor, Updater& updater) : executor_(executor), updater_(updater) {}

  Executor& executor() const { return executor_; }

  // Queues an iteration; returns the number under which loss() knows it. At most kAhead iterations may be
  // queued whose loss nobody has asked for.
  int64_t run(const UpdateSettings& settings);

  // Waits for an iteration and returns its loss. Throws what its kernels complained about.
  double loss(int64_t iteration);

  // Whether the last run repeated a recording.
  bool repeated() const { return work_.repeated(); }

  static constexpr int64_t kAhead = 4;

 private:
  // The values of one top.
  struct Part {
    float weight;
    int64_t count;
    DType dtype;
  };
  // What an iteration leaves behind in memory that the device writes directly.
  struct Result {
    std::shared_ptr<void> memory;  // the complaint, then the values of the tops with a loss weight
    size_t bytes = 0;
    std::vector<Part> tops;
    std::unique_ptr<Moment> done;
  };

  void queue_result(Result& result);

  Executor& executor_;
  Updater& updater_;
  RepeatedWork work_;
  Result results_[kAhead];
  int64_t runs_ = 0;
};

}  // namespace caffe
