// Runs a planned list of layers forward and backward, without the GIL and without Python between layers.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "core/accelerator.hpp"
#include "core/layer.hpp"
#include "core/repeated_work.hpp"

namespace caffe {

// One planned call. A top with a loss weight holds it in its diff, as in Caffe.
struct Step {
  std::string name;
  std::shared_ptr<Layer> layer;
  Blobs bottoms, tops;
  std::vector<float> loss_weights;   // one for each top, 0 for none
  std::vector<bool> propagate_down;  // one for each bottom
  bool need_backward = false;
  std::vector<size_t> recompute;  // numbers of steps whose tops are made again before this one's backward
};

class Executor {
 public:
  Executor(std::vector<Step> steps, uint64_t seed);

  // Brings all shapes up to date with the net's inputs, without computing.
  void reshape();
  bool on_device() const { return on_device_; }  // whether any step runs on the GPU

  // Steps [begin, end) in order, each reshaped first if a bottom's shape has changed. Returns their loss.
  double forward(size_t begin, size_t end);
  // Steps [begin, end) from the last to the first; those that need no backward are passed over; with `all`,
  // only those that cannot run it.
  void backward(size_t begin, size_t end, bool all = false);

  // Before the backward of a step, run these steps forward again, in this order: what they made was
  // overwritten.
  void recompute_before(size_t step, std::vector<size_t> again) { steps_[step].recompute = std::move(again); }

  // forward and backward in parts, for those who let the GPU run on: before the work, the work itself, which
  // is only queued for steps on the GPU, and after it, without waiting.
  void before_run();
  void queue_forward(size_t begin, size_t end);
  void queue_backward(size_t begin, size_t end, bool all = false);
  void after_run();

  // The same, but the longest runs of steps that can be recorded are. `variant` tells passes apart whose work
  // differs; `weights` is that of fingerprint(). Returns whether all runs repeated a recording.
  bool run_forward(size_t begin, size_t end, int variant, bool weights);
  bool run_backward(size_t begin, size_t end, int variant);

  // How many steps from `begin` on cannot be recorded, if all behind them up to `end` can, backward included;
  // otherwise `end`.
  size_t unrecordable(size_t begin, size_t end, bool backward) const;
  // What recorded work of these steps depends on but the contents of memory. Weights that change between runs
  // count if they are not the work's own.
  uint64_t fingerprint(size_t begin, size_t end, bool weights);
  std::vector<Storage*> storages();  // of all blobs on the GPU

  size_t size() const { return steps_.size(); }
  const Step& step(size_t index) const { return steps_[index]; }

  // What random numbers depend on: the net's seed, and the number of the forward pass, which the owner
  // counts.
  uint64_t seed;
  uint64_t iteration = 0;
  // Stop at the first value that is not finite, naming layer and blob.
  bool check_finite = false;
  // Time each step; results in milliseconds of the last run.
  bool timing = false;
  std::vector<double> forward_ms, backward_ms;

  size_t scratch_bytes(Device device) const;  // of the largest step there, after reshape()

  // Numbers on the device that recorded work reads: sets them for the next run. Queued.
  void send_iteration();
  // Where kernels write if something is wrong, on the device; `refuse` throws what their layer says of it.
  Complaint* complaint() { return static_cast<Complaint*>(complaint_.data()); }
  [[noreturn]] void refuse(const Complaint& complaint);

 private:
  struct Seen {
    std::vector<uint64_t> bottom_versions;  // of their shapes at the last reshape
    std::vector<uint64_t> top_versions;     // when their loss weights were set
  };

  void reshape_if_needed(size_t index);
  void reshape_layer(Step& step);
  void run_timed(Step& step, std::vector<double>& milliseconds, size_t index,
                 const std::function<void(const Context&)>& body);
  void collect_times(std::vector<double>& milliseconds);
  void shape_tops(Step& step);
  void recompute(const Step& step);
  void prepare_backward(Step& step);  // of a layer that was set up to run forward only
  void set_loss_weights(size_t index);
  double loss_of(Step& step) const;
  double loss(size_t begin, size_t end);  // waits; throws what kernels complained about
  Context context(size_t index);
  Storage& scratch_of(const Step& step);

  // Steps that are recorded together: begin, end, variant, and whether they run backward.
  using Run = std::tuple<size_t, size_t, int, bool>;
  // Calls part(begin, end, recordable) for the longest pieces of [begin, end) of one kind, in their order.
  void for_each_part(size_t begin, size_t end, const std::function<void(size_t, size_t, bool)>& part) const;

  // When a step on the GPU began and ended.
  struct Span {
    size_t index;
    std::unique_ptr<Moment> begin, end;
  };

  std::vector<Step> steps_;
  std::vector<Seen> seen_;
  Blobs device_blobs_;  // of all steps, each once
  bool on_device_ = false;
  uint64_t reshapes_ = 0;  // of layers that may be recorded
  Storage scratch_, device_scratch_{Device::cuda};
  Storage complaint_{Device::cuda};
  Storage device_iteration_{Device::cuda};
  std::map<Run, RepeatedWork> repeated_;
  std::vector<Span> spans_;
};

}  // namespace caffe
