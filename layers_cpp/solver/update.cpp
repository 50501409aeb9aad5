#include "solver/update.hpp"

#include <algorithm>
#include <cmath>

#include "core/error.hpp"
#include "core/parallel.hpp"

namespace caffe {
namespace {

constexpr int64_t kChunk = 1 << 16;  // elements handed to a thread at a time

float sign(float value) { return static_cast<float>((value > 0) - (value < 0)); }

// One rule over a piece of a param.
template <class Rule>
void update(const rules::Numbers& s, float rate, float decay, int64_t count, float* data, float* diff,
            float* first, float* second) {
  const auto scale = static_cast<float>(s.gradient_scale);
  const bool l1 = s.l1 && decay != 0;
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) {
    const float weight = data[i];
    const float gradient = scale * diff[i] + decay * (l1 ? sign(weight) : weight);
    const float change = Rule::change(s, rate, gradient, first[i], second[i]);
    diff[i] = change;
    data[i] = weight - change;
  }
}

using Kernel = void (*)(const rules::Numbers&, float rate, float decay, int64_t count, float* data,
                        float* diff, float* first, float* second);

Kernel kernel_of(const std::string& rule) {
  return rules::of_rule(rule, [](auto each) -> Kernel { return update<decltype(each)>; });
}

class CpuUpdater : public Updater {
 public:
  CpuUpdater(const std::string& rule, Blobs params, std::vector<float> lr_mults,
             std::vector<float> decay_mults)
      : Updater(rule, std::move(params), std::move(lr_mults), std::move(decay_mults), Device::cpu),
        kernel_(kernel_of(rule)) {}

  void send(const UpdateSettings& settings) override { settings_ = settings; }

  void apply() override {
    clip(settings_);
    const rules::Numbers numbers = numbers_of(settings_);
    for (size_t i = 0; i < params_.size(); ++i) {
      float *data = params_[i]->data(), *diff = params_[i]->diff();
      float *first = history_[i]->data(), *second = second_history(i).data();
      const float rate = settings_.rate * lr_mults_[i], decay = settings_.weight_decay * decay_mults_[i];
      parallel_for(params_[i]->count(), kChunk, [&](int64_t begin, int64_t end, int) {
        kernel_(numbers, rate, decay, end - begin, data + begin, diff + begin, first + begin, second + begin);
      });
    }
  }

  double squared_gradient_norm() override {
    double sum = 0;
    for (const BlobPtr& param : params_) {
      const float* diff = param->diff();
      for (int64_t begin = 0; begin < param->count(); begin += 4096) {
        float part = 0;  // a short float sum vectorises; the long one is in double
        const int64_t end = std::min(param->count(), begin + 4096);
#pragma omp simd reduction(+ : part)
        for (int64_t i = begin; i < end; ++i) part += diff[i] * diff[i];
        sum += part;
      }
    }
    return sum;
  }

 private:
  const Kernel kernel_;
  UpdateSettings settings_;
};

// Of params on both devices: an updater for each device.
class JointUpdater : public Updater {
 public:
  JointUpdater(const std::string& rule, const Blobs& params, const std::vector<float>& lr_mults,
               const std::vector<float>& decay_mults)
      : Updater(rule, params, lr_mults, decay_mults, Device::cpu) {
    for (const Device device : {Device::cpu, Device::cuda}) {
      std::vector<size_t> places;
      for (size_t i = 0; i < params.size(); ++i)
        if (params[i]->device() == device) places.push_back(i);
      parts_.push_back(make_updater(rule, at(params, places), at(lr_mults, places), at(decay_mults, places)));
      for (size_t set = 0; set < history_.size() / params.size(); ++set)
        for (size_t i = 0; i < places.size(); ++i)
          history_[set * params.size() + places[i]] = parts_.back()->history()[set * places.size() + i];
    }
  }

  void send(const UpdateSettings& settings) override { settings_ = settings; }
  void apply() override {
    clip(settings_);
    for (const auto& part : parts_) {
      part->send(settings_);
      part->apply();
    }
  }

  double squared_gradient_norm() override {
    double sum = 0;
    for (const auto& part : parts_) sum += part->squared_gradient_norm();
    return sum;
  }

 private:
  template <class T>
  static std::vector<T> at(const std::vector<T>& all, const std::vector<size_t>& places) {
    std::vector<T> some;
    for (const size_t place : places) some.push_back(all[place]);
    return some;
  }

  std::vector<std::unique_ptr<Updater>> parts_;
  UpdateSettings settings_;
};

UpdaterFactory& cuda_factory() {
  static UpdaterFactory factory = nullptr;
  return factory;
}

}  // namespace

Updater::Updater(const std::string& rule, Blobs params, std::vector<float> lr_mults,
                 std::vector<float> decay_mults, Device device)
    : params_(std::move(params)),
      lr_mults_(std::move(lr_mults)),
      decay_mults_(std::move(decay_mults)),
      norm_(device) {
  norm_.reserve(sizeof(double));
  const int sets = history_sets(rule);
  for (int set = 0; set < sets; ++set)
    for (const BlobPtr& param : params_) {
      history_.push_back(std::make_shared<Blob>(DType::float32, param->layout(), param->device()));
      history_.back()->reshape(param->shape());
    }
}

int history_sets(const std::string& rule) {
  return rules::of_rule(rule, [](auto each) { return each.two_histories ? 2 : 1; });
}

std::vector<std::string> solver_rules() {
  std::vector<std::string> names;
  rules::for_each_rule([&](auto rule) { names.emplace_back(rule.name); });
  return names;
}

rules::Numbers numbers_of(const UpdateSettings& settings) {
  // Adam's rate is multiplied by this, because its histories start at zero.
  const double time = static_cast<double>(settings.iteration) + 1;
  const double adam_correction =
      std::sqrt(1 - std::pow(settings.momentum2, time)) / (1 - std::pow(settings.momentum, time));
  return {.rate = settings.rate,
          .momentum = settings.momentum,
          .momentum2 = settings.momentum2,
          .rms_decay = settings.rms_decay,
          .delta = settings.delta,
          .weight_decay = settings.weight_decay,
          .adam_correction = static_cast<float>(adam_correction),
          .l1 = settings.l1,
          .gradient_scale = settings.gradient_scale,
          .clip_gradients = settings.clip_gradients};
}

double Updater::update(const UpdateSettings& settings) {
  send(settings);
  apply();
  touch();
  return settings.clip_gradients >= 0 ? *static_cast<const double*>(norm_.host_data()) : 0;
}

void Updater::clip(UpdateSettings& settings) {
  if (settings.clip_gradients < 0) return;
  const double norm = std::sqrt(squared_gradient_norm());
  *static_cast<double*>(norm_.overwrite()) = norm;
  settings.gradient_scale *= clip_factor(norm, settings.clip_gradients);
  settings.clip_gradients = -1;
}

void Updater::touch() {
  for (const BlobPtr& param : params_) {
    param->data_storage().touch();
    param->data_storage().device_wrote();
    param->diff_storage().device_wrote();
  }
  for (const BlobPtr& blob : history_) blob->data_storage().device_wrote();
  norm_.device_wrote();
}

void Updater::clear_gradients() {
  for (const BlobPtr& param : params_) param->diff_storage().clear();
}

void register_cuda_updater(UpdaterFactory factory) { cuda_factory() = factory; }

std::unique_ptr<Updater> make_updater(const std::string& rule, Blobs params, std::vector<float> lr_mults,
                                      std::vector<float> decay_mults) {
  const std::vector<std::string> known = solver_rules();
  if (std::find(known.begin(), known.end(), rule) == known.end())
    throw ConfigError(message("unknown solver type '", rule, "'"));
  const auto on_gpu =
      std::count_if(params.begin(), params.end(), [](auto& p) { return p->device() == Device::cuda; });
  if (on_gpu > 0 && on_gpu < static_cast<int64_t>(params.size()))
    return std::make_unique<JointUpdater>(rule, params, lr_mults, decay_mults);
  if (on_gpu > 0) return cuda_factory()(rule, std::move(params), std::move(lr_mults), std::move(decay_mults));
  return std::make_unique<CpuUpdater>(rule, std::move(params), std::move(lr_mults), std::move(decay_mults));
}

}  // namespace caffe
