#include "core/executor.hpp"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>

#include "core/error.hpp"
#include "core/onednn.hpp"

namespace caffe {
namespace {

using Clock = std::chrono::steady_clock;

double milliseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

void require_finite(Blob& blob, bool diff, const std::string& layer, const char* what, size_t index) {
  if (!all_finite(blob, diff))
    throw DataError(message("layer '", layer, "': ", what, " ", index, " holds a value that is not finite"));
}

// oneDNN's own words mean little to a user: say which layer they are about.
template <class Body>
void named(const Step& step, Body&& body) {
  try {
    body();
  } catch (const dnnl::error& error) {
    throw ConfigError(message("layer '", step.name, "': oneDNN: ", error.what()));
  } catch (const ShapeError& error) {
    throw ShapeError(message("layer '", step.name, "': ", error.what()));
  } catch (const ConfigError& error) {
    throw ConfigError(message("layer '", step.name, "': ", error.what()));
  } catch (const DataError& error) {
    throw DataError(message("layer '", step.name, "': ", error.what()));
  }
}

// A child that is forked after OpenMP has started its threads does not have them, and waits for them for
// ever.
std::atomic<bool> threads_started{false}, threads_lost{false};

void require_threads() {
  static const int registered =
      pthread_atfork(nullptr, nullptr, [] { threads_lost = threads_started.load(); });
  static_cast<void>(registered);
  threads_started = true;
  if (threads_lost)
    throw DeviceError(
        "this process was forked after a net had run; start it with the method 'spawn' instead");
}

}  // namespace

Executor::Executor(std::vector<Step> steps, uint64_t seed)
    : seed(seed),
      forward_ms(steps.size()),
      backward_ms(steps.size()),
      steps_(std::move(steps)),
      seen_(steps_.size()) {
  for (Step& step : steps_) step.layer->runs_backward = step.need_backward;
}

Context Executor::context() { return {scratch_.get(), seed, iteration}; }

size_t Executor::scratch_bytes() const {
  size_t most = 0;
  for (const Step& step : steps_) most = std::max(most, step.layer->scratch_bytes());
  return most;
}

// They live in the tops' diffs, whose contents are unspecified after a change of shape.
void Executor::set_loss_weights(size_t index) {
  Step& step = steps_[index];
  std::vector<uint64_t>& versions = seen_[index].top_versions;
  versions.resize(step.tops.size());
  for (size_t i = 0; i < step.tops.size(); ++i) {
    if (step.loss_weights[i] == 0.0f || versions[i] == step.tops[i]->shape_version()) continue;
    versions[i] = step.tops[i]->shape_version();
    dispatch(step.tops[i]->dtype(), [&](auto zero) {
      using T = decltype(zero);
      std::fill_n(step.tops[i]->diff<T>(), step.tops[i]->count(), T(step.loss_weights[i]));
    });
  }
}

void Executor::shape_tops(Step& step) {
  // A layer without bottoms has its shapes from the plan, and from whoever reshapes its tops.
  if (step.bottoms.empty() || step.layer->shapes_its_tops) return;
  std::vector<Shape> bottom_shapes;
  for (const BlobPtr& bottom : step.bottoms) bottom_shapes.push_back(bottom->shape());
  const std::vector<Shape> top_shapes = step.layer->top_shapes(bottom_shapes);
  for (size_t i = 0; i < step.tops.size(); ++i) step.tops[i]->reshape(top_shapes[i]);
}

void Executor::reshape_if_needed(size_t index) {
  Step& step = steps_[index];
  std::vector<uint64_t>& versions = seen_[index].bottom_versions;
  bool changed = versions.empty() || step.layer->shapes_its_tops;
  for (size_t i = 0; i < step.bottoms.size() && !changed; ++i)
    changed = versions[i] != step.bottoms[i]->shape_version();
  if (!changed) return;
  versions.clear();  // if the shapes are refused below, they are looked at again next time
  shape_tops(step);
  step.layer->reshape(step.bottoms, step.tops);
  scratch_->reserve(step.layer->scratch_bytes());
  set_loss_weights(index);
  for (const BlobPtr& bottom : step.bottoms) versions.push_back(bottom->shape_version());
  versions.push_back(0);  // never empty again, also without bottoms
}

void Executor::reshape() {
  for (size_t i = 0; i < steps_.size(); ++i) named(steps_[i], [&] { reshape_if_needed(i); });
}

double Executor::loss_of(Step& step) const {
  double loss = 0;
  for (size_t i = 0; i < step.tops.size(); ++i) {
    if (step.loss_weights[i] == 0.0f) continue;
    Blob& top = *step.tops[i];
    dispatch(top.dtype(), [&](auto zero) {
      using T = decltype(zero);
      const T *data = top.data<T>(), *weight = top.diff<T>();
      for (int64_t k = 0; k < top.count(); ++k)
        loss += static_cast<double>(data[k]) * static_cast<double>(weight[k]);
    });
  }
  return loss;
}

double Executor::forward(size_t begin, size_t end) {
  require_threads();
  double loss = 0;
  for (size_t i = begin; i < end; ++i) {
    Step& step = steps_[i];
    named(step, [&] {
      const auto start = timing ? Clock::now() : Clock::time_point();
      reshape_if_needed(i);
      step.layer->forward(context(), step.bottoms, step.tops);
      set_loss_weights(i);  // a layer written by a user may have reshaped its tops once more
      loss += loss_of(step);
      if (timing) forward_ms[i] = milliseconds_since(start);
    });
    if (check_finite)
      for (size_t k = 0; k < step.tops.size(); ++k) require_finite(*step.tops[k], false, step.name, "top", k);
  }
  return loss;
}

void Executor::prepare_backward(Step& step) {
  step.layer->runs_backward = true;
  if (step.layer->shapes_its_tops) return;  // its reshape belongs to the next forward
  step.layer->reshape(step.bottoms, step.tops);
  scratch_->reserve(step.layer->scratch_bytes());
}

void Executor::recompute(const Step& step) {
  for (const size_t index : step.recompute) {
    Step& again = steps_[index];
    named(again, [&] { again.layer->recompute(context(), again.bottoms, again.tops); });
  }
}

void Executor::backward(size_t begin, size_t end, bool all) {
  require_threads();
  for (size_t i = end; i-- > begin;) {
    Step& step = steps_[i];
    if (timing) backward_ms[i] = 0;
    if (!step.need_backward && !(all && step.layer->has_backward())) continue;
    const auto start = timing ? Clock::now() : Clock::time_point();
    recompute(step);
    named(step, [&] {
      if (!step.layer->has_backward()) throw ConfigError("it was planned to run forward only");
      if (!step.layer->runs_backward) prepare_backward(step);
      step.layer->backward(context(), step.tops, step.propagate_down, step.bottoms);
      if (timing) backward_ms[i] = milliseconds_since(start);
    });
    if (check_finite)
      for (size_t k = 0; k < step.bottoms.size(); ++k)
        if (step.propagate_down[k])
          require_finite(*step.bottoms[k], true, step.name, "gradient of bottom", k);
  }
}

}  // namespace caffe
