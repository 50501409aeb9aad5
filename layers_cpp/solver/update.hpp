// From gradients to new weights: normalise, regularise, the solver's rule and the step itself in one pass
// over all learnable params.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/blob.hpp"
#include "solver/rules.hpp"

namespace caffe {

// What all params of one update have in common. Symbols as in Caffe's solver documentation.
struct UpdateSettings {
  float rate = 0;             // learning rate of this iteration
  float momentum = 0;         // mu; beta1 of Adam
  float momentum2 = 0;        // beta2 of Adam
  float rms_decay = 0;        // rho of RMSProp
  float delta = 0;            // keeps divisions finite
  float weight_decay = 0;     // lambda
  bool l1 = false;            // L1 instead of L2 regularisation
  double gradient_scale = 1;  // 1 / iter_size
  float clip_gradients = -1;  // largest L2 norm of all gradients together, before they are scaled; < 0: any
  int64_t iteration = 0;      // updates done before this one
};

// The same as the rules read them.
rules::Numbers numbers_of(const UpdateSettings& settings);

// Names of all rules, sorted, and how many arrays of history one has for each param.
std::vector<std::string> solver_rules();
int history_sets(const std::string& rule);

// What gradients of this norm are multiplied by, so that it does not exceed the limit.
constexpr double clip_factor(double norm, double limit) {
  return limit >= 0 && norm > limit ? limit / norm : 1;
}

class Updater {
 public:
  virtual ~Updater() = default;

  // data -= change; the diffs hold the change afterwards. Returns the gradients' L2 norm if they may be
  // clipped, else 0.
  double update(const UpdateSettings& settings);

  // The same in parts: what changes with every update, the work, and a note that params and history have
  // changed.
  virtual void send(const UpdateSettings& settings) = 0;
  virtual void apply() = 0;
  // Whether apply() does nothing but queue work on the GPU that reads what send() has sent.
  virtual bool recordable() const { return false; }
  void touch();

  // Sum of squares of all gradients. Waits for the device.
  virtual double squared_gradient_norm() = 0;
  // The L2 norm that the last update has found, a double; only if it clips.
  Storage& norm() { return norm_; }
  void clear_gradients();

  // One blob for each param, and a second set after the first for rules with two.
  const Blobs& history() const { return history_; }

 protected:
  // `rule`: one of solver_rules(). lr_mults and decay_mults: one for each param.
  Updater(const std::string& rule, Blobs params, std::vector<float> lr_mults, std::vector<float> decay_mults,
          Device device);

  // On the host: keeps the norm of the gradients, and turns clipping into a part of the scale.
  void clip(UpdateSettings& settings);

  // The second history of a param; its first one for rules that have one only.
  Blob& second_history(size_t param) const { return *history_[history_.size() - params_.size() + param]; }

  const Blobs params_;
  const std::vector<float> lr_mults_, decay_mults_;
  Blobs history_;
  Storage norm_;
};

// Of params that lie on one device.
std::unique_ptr<Updater> make_updater(const std::string& rule, Blobs params, std::vector<float> lr_mults,
                                      std::vector<float> decay_mults);

// What the CUDA part registers when it is built.
using UpdaterFactory = std::unique_ptr<Updater> (*)(const std::string& rule, Blobs params,
                                                    std::vector<float> lr_mults,
                                                    std::vector<float> decay_mults);
void register_cuda_updater(UpdaterFactory factory);

}  // namespace caffe
