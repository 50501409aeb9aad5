// Runs a planned list of layers forward and backward, without the GIL and without Python between layers.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/layer.hpp"

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

  // Steps [begin, end) in order, each reshaped first if a bottom's shape has changed. Returns their loss.
  double forward(size_t begin, size_t end);
  // Steps [begin, end) from the last to the first; those that need no backward are passed over; with `all`,
  // only those that cannot run it.
  void backward(size_t begin, size_t end, bool all = false);

  // Before the backward of a step, run these steps forward again, in this order: what they made was
  // overwritten.
  void recompute_before(size_t step, std::vector<size_t> again) { steps_[step].recompute = std::move(again); }

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

  size_t scratch_bytes() const;  // of the largest step, after reshape()

 private:
  struct Seen {
    std::vector<uint64_t> bottom_versions;  // of their shapes at the last reshape
    std::vector<uint64_t> top_versions;     // when their loss weights were set
  };

  void reshape_if_needed(size_t index);
  void shape_tops(Step& step);
  void recompute(const Step& step);
  void prepare_backward(Step& step);  // of a layer that was set up to run forward only
  void set_loss_weights(size_t index);
  double loss_of(Step& step) const;
  Context context();

  std::vector<Step> steps_;
  std::vector<Seen> seen_;
  std::shared_ptr<Storage> scratch_ = std::make_shared<Storage>();
};

}  // namespace caffe
