// One iteration of training: gradients cleared, forward and backward once or more, update. On the GPU it is
// queued, its parts are recorded, and the host may go on to the next one before the loss of this one is
// known.
#pragma once

#include "core/executor.hpp"
#include "solver/update.hpp"

namespace caffe {

class TrainingStep {
 public:
  // Both must live as long as this.
  TrainingStep(Executor& executor, Updater& updater) : executor_(executor), updater_(updater) {}

  Executor& executor() const { return executor_; }

  // Queues an iteration of so many passes, whose gradients add up; returns the number under which wait()
  // knows it. At most kAhead iterations may be queued that nobody has waited for.
  int64_t run(const UpdateSettings& settings, int64_t passes);

  struct Outcome {
    double loss;           // mean of the passes
    double gradient_norm;  // before clipping; 0 without
  };
  // Waits for an iteration. Throws what its kernels complained about.
  Outcome wait(int64_t iteration);

  // Whether all of the last run repeated recordings.
  bool repeated() const { return repeated_; }

  static constexpr int64_t kAhead = 4;

 private:
  // The values of one top.
  struct Part {
    float weight;
    int64_t count;
    DType dtype;
  };
  // What a pass and an iteration leave behind, in memory that the device writes directly.
  struct PassResult {
    std::shared_ptr<void> memory;  // the complaint, then the values of the tops with a loss weight
    size_t bytes = 0;
    std::vector<Part> tops;
  };
  struct Result {
    std::vector<PassResult> passes;
    std::shared_ptr<void> norm;  // null without clipping
    std::unique_ptr<Moment> done;
  };

  void run_pass(bool is_first, bool is_last, bool clips);
  void queue_result(PassResult& result);
  void queue_norm(Result& result, bool clips);
  double loss_of(const PassResult& result);  // throws its complaint

  Executor& executor_;
  Updater& updater_;
  RepeatedWork works_[2][2];  // of a pass, by whether it is the first and the last one
  bool repeated_ = false;
  Result results_[kAhead];
  int64_t runs_ = 0;
};

}  // namespace caffe
