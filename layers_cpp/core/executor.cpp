#include "core/executor.hpp"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <set>

#include "core/error.hpp"
#include "core/onednn.hpp"

namespace caffe {
namespace {

using Clock = std::chrono::steady_clock;

double milliseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

void require_finite(Blob& blob, bool diff, const std::string& layer, const char* what, size_t index) {
  (diff ? blob.diff_storage() : blob.data_storage()).device_wrote();
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
  std::set<BlobPtr> blobs;
  for (Step& step : steps_) {
    step.layer->runs_backward = step.need_backward;
    on_device_ |= step.layer->device() == Device::cuda;
    for (const Blobs* some : {&step.bottoms, &step.tops, &step.layer->params, &step.layer->state})
      blobs.insert(some->begin(), some->end());
  }
  std::copy_if(blobs.begin(), blobs.end(), std::back_inserter(device_blobs_),
               [](const BlobPtr& blob) { return blob->device() == Device::cuda; });
  complaint_.reserve(sizeof(Complaint));
  device_iteration_.reserve(sizeof(uint64_t));
}

Storage& Executor::scratch_of(const Step& step) {
  return step.layer->device() == Device::cuda ? device_scratch_ : scratch_;
}

Context Executor::context(size_t index) {
  Context context{.scratch = &scratch_of(steps_[index]), .seed = seed, .iteration = iteration};
  if (steps_[index].layer->device() == Device::cpu) return context;
  context.stream = accelerator().stream();
  context.device_iteration = static_cast<const uint64_t*>(device_iteration_.data());
  context.complaint = static_cast<Complaint*>(complaint_.data());
  context.step = static_cast<int32_t>(index);
  return context;
}

size_t Executor::scratch_bytes(Device device) const {
  return (device == Device::cuda ? device_scratch_ : scratch_).bytes();
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
      Storage& diff = step.tops[i]->diff_storage();
      std::fill_n(static_cast<T*>(diff.host_data()), step.tops[i]->count(), T(step.loss_weights[i]));
      diff.host_wrote();
      diff.publish();  // also in the middle of a run
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

// What the layer keeps, and the scratch of all, may lie elsewhere afterwards. Layers that are never recorded
// may be reshaped before every run.
void Executor::reshape_layer(Step& step) {
  if (step.layer->recordable()) ++reshapes_;
  step.layer->reshape(step.bottoms, step.tops);
  scratch_of(step).reserve(step.layer->scratch_bytes());
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
  reshape_layer(step);
  set_loss_weights(index);
  for (const BlobPtr& bottom : step.bottoms) versions.push_back(bottom->shape_version());
  versions.push_back(0);  // never empty again, also without bottoms
}

void Executor::reshape() {
  for (size_t i = 0; i < steps_.size(); ++i) named(steps_[i], [&] { reshape_if_needed(i); });
}

std::vector<Storage*> Executor::storages() {
  std::vector<Storage*> all;
  for (const BlobPtr& blob : device_blobs_) {
    all.push_back(&blob->data_storage());
    all.push_back(&blob->diff_storage());
  }
  return all;
}

size_t Executor::unrecordable(size_t begin, size_t end, bool backward) const {
  if (check_finite || timing) return end;
  size_t first = begin;
  while (first < end && !steps_[first].layer->recordable()) ++first;
  const auto recordable = [](const Step& step) { return step.layer->recordable(); };
  const auto learns = [&](const Step& step) { return backward && step.need_backward; };
  const auto step = steps_.begin();
  const bool all =
      std::all_of(step + first, step + end, recordable) && std::none_of(step + begin, step + first, learns);
  return all ? first : end;
}

uint64_t Executor::fingerprint(size_t begin, size_t end, bool weights) {
  uint64_t all = mix(mix(mix(mix(0xcbf29ce484222325u, seed), begin), end), reshapes_);
  for (size_t i = begin; i < end; ++i) {
    for (const BlobPtr& top : steps_[i].tops) all = mix(all, top->shape_version());
    for (const BlobPtr& bottom : steps_[i].bottoms) all = mix(all, bottom->shape_version());
    if (weights)
      for (const BlobPtr& param : steps_[i].layer->params) all = mix(all, param->data_storage().version());
  }
  for (const Storage* storage : storages()) all = mix(mix(all, storage->address()), storage->zero());
  return all;
}

void Executor::send_iteration() {
  accelerator().store(device_iteration_.data(), &iteration, sizeof iteration);
}

void Executor::before_run() {
  require_threads();
  if (!on_device_) return;
  for (Storage* storage : storages()) storage->publish();
  send_iteration();
}

void Executor::after_run() {
  if (on_device_)
    for (Storage* storage : storages()) storage->device_wrote();
}

double Executor::loss_of(Step& step) const {
  double loss = 0;
  for (size_t i = 0; i < step.tops.size(); ++i) {
    if (step.loss_weights[i] == 0.0f) continue;
    Blob& top = *step.tops[i];
    dispatch(top.dtype(), [&](auto zero) {
      using T = decltype(zero);
      const auto *data = static_cast<const T*>(top.data_storage().host_data()),
                 *weight = static_cast<const T*>(top.diff_storage().host_data());
      for (int64_t k = 0; k < top.count(); ++k)
        loss += static_cast<double>(data[k]) * static_cast<double>(weight[k]);
    });
  }
  return loss;
}

double Executor::loss(size_t begin, size_t end) {
  double loss = 0;
  for (size_t i = begin; i < end; ++i) loss += loss_of(steps_[i]);
  if (!on_device_) return loss;
  complaint_.device_wrote();
  const Complaint found = *static_cast<const Complaint*>(complaint_.host_data());
  if (found.code != 0) refuse(found);
  return loss;
}

void Executor::refuse(const Complaint& complaint) {
  accelerator().clear(complaint_.data(), sizeof(Complaint));
  const Step& step = steps_[complaint.step];
  throw DataError(message("layer '", step.name, "': ", step.layer->explain(complaint)));
}

void Executor::run_timed(Step& step, std::vector<double>& milliseconds, size_t index,
                         const std::function<void(const Context&)>& body) {
  if (!timing) return body(context(index));
  if (step.layer->device() == Device::cuda) {
    auto begin = accelerator().mark();
    body(context(index));
    spans_.push_back({index, std::move(begin), accelerator().mark()});
    return;
  }
  const auto start = Clock::now();
  body(context(index));
  milliseconds[index] = milliseconds_since(start);
}

void Executor::collect_times(std::vector<double>& milliseconds) {
  for (Span& span : spans_) milliseconds[span.index] = span.end->milliseconds_since(*span.begin);
  spans_.clear();
}

void Executor::queue_forward(size_t begin, size_t end) {
  for (size_t i = begin; i < end; ++i) {
    Step& step = steps_[i];
    named(step, [&] {
      reshape_if_needed(i);
      run_timed(step, forward_ms, i,
                [&](const Context& context) { step.layer->forward(context, step.bottoms, step.tops); });
      set_loss_weights(i);  // a layer written by a user may have reshaped its tops once more
    });
    if (check_finite)
      for (size_t k = 0; k < step.tops.size(); ++k) require_finite(*step.tops[k], false, step.name, "top", k);
  }
}

void Executor::for_each_part(size_t begin, size_t end,
                             const std::function<void(size_t, size_t, bool)>& part) const {
  const bool none = check_finite || timing;
  const auto recordable = [&](size_t i) { return !none && steps_[i].layer->recordable(); };
  for (size_t from = begin, to = begin; from < end; from = to) {
    while (to < end && recordable(to) == recordable(from)) ++to;
    part(from, to, recordable(from));
  }
}

bool Executor::run_forward(size_t begin, size_t end, int variant, bool weights) {
  bool all_repeated = true;
  for_each_part(begin, end, [&](size_t from, size_t to, bool recordable) {
    if (!recordable) return queue_forward(from, to);
    RepeatedWork& work = repeated_[{from, to, variant, false}];
    work.run(fingerprint(from, to, weights), storages(), [&] { queue_forward(from, to); });
    all_repeated &= work.repeated();
  });
  return all_repeated;
}

bool Executor::run_backward(size_t begin, size_t end, int variant) {
  std::vector<std::tuple<size_t, size_t, bool>> parts;
  for_each_part(begin, end,
                [&](size_t from, size_t to, bool recordable) { parts.emplace_back(from, to, recordable); });
  bool all_repeated = true;
  for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
    const auto [from, to, recordable] = *part;
    const auto learns = [](const Step& step) { return step.need_backward; };
    if (std::none_of(steps_.begin() + from, steps_.begin() + to, learns)) continue;
    if (!recordable) {
      queue_backward(from, to);
      continue;
    }
    RepeatedWork& work = repeated_[{from, to, variant, true}];
    work.run(fingerprint(from, to, false), storages(), [&, from, to] { queue_backward(from, to); });
    all_repeated &= work.repeated();
  }
  return all_repeated;
}

double Executor::forward(size_t begin, size_t end) {
  before_run();
  if (on_device_)
    run_forward(begin, end, 0, true);
  else
    queue_forward(begin, end);
  after_run();
  if (on_device_ && timing) collect_times(forward_ms);
  return loss(begin, end);
}

void Executor::prepare_backward(Step& step) {
  step.layer->runs_backward = true;
  if (step.layer->shapes_its_tops) return;  // its reshape belongs to the next forward
  reshape_layer(step);
}

void Executor::recompute(const Step& step) {
  for (const size_t index : step.recompute) {
    Step& again = steps_[index];
    named(again, [&] { again.layer->recompute(context(index), again.bottoms, again.tops); });
  }
}

void Executor::queue_backward(size_t begin, size_t end, bool all) {
  for (size_t i = end; i-- > begin;) {
    Step& step = steps_[i];
    if (timing) backward_ms[i] = 0;
    if (!step.need_backward && !(all && step.layer->has_backward())) continue;
    named(step, [&] {
      if (!step.layer->has_backward()) throw ConfigError("it was planned to run forward only");
      if (!step.layer->runs_backward) prepare_backward(step);
      run_timed(step, backward_ms, i, [&](const Context& context) {
        recompute(step);
        step.layer->backward(context, step.tops, step.propagate_down, step.bottoms);
      });
    });
    if (check_finite)
      for (size_t k = 0; k < step.bottoms.size(); ++k)
        if (step.propagate_down[k])
          require_finite(*step.bottoms[k], true, step.name, "gradient of bottom", k);
  }
}

void Executor::backward(size_t begin, size_t end, bool all) {
  before_run();
  queue_backward(begin, end, all);
  after_run();
  if (on_device_ && timing) collect_times(backward_ms);
}

}  // namespace caffe
