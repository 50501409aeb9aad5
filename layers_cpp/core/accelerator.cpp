#include "core/accelerator.hpp"

#include <atomic>
#include <mutex>

#include "core/error.hpp"

namespace caffe {
namespace {

AcceleratorFactory& factory() {
  static AcceleratorFactory made;
  return made;
}

AcceleratorQueries& queries() {
  static AcceleratorQueries made;
  return made;
}

constexpr const char* kNotBuilt = "this build of pycaffe-like runs on the CPU only";

int chosen_device = 0;
// Never destroyed: storages of Python objects outlive static ones at the end of the process.
std::atomic<Accelerator*> instance{nullptr};

Accelerator* make_instance() {
  if (!factory()) throw DeviceError(kNotBuilt);
  return factory()(chosen_device).release();
}

}  // namespace

void register_accelerator(AcceleratorFactory made) { factory() = std::move(made); }

void register_accelerator_queries(AcceleratorQueries made) { queries() = std::move(made); }

const AcceleratorQueries& accelerator_queries() {
  if (!queries().report) throw DeviceError(kNotBuilt);
  return queries();
}

bool accelerator_built() { return static_cast<bool>(factory()); }

bool accelerator_in_use() { return instance != nullptr; }

void choose_accelerator(int device) {
  if (instance && device != chosen_device)
    throw DeviceError(
        message("this process runs on GPU ", chosen_device, " already, it cannot change to ", device));
  chosen_device = device;
}

int chosen_accelerator() { return chosen_device; }

Accelerator& accelerator() {
  static std::mutex mutex;
  if (!instance) {
    const std::lock_guard lock(mutex);
    if (!instance) instance = make_instance();
  }
  Accelerator& made = *instance;
  thread_local const bool entered = (made.enter_thread(), true);
  static_cast<void>(entered);
  return made;
}

std::shared_ptr<void> allocate_pinned(size_t bytes) {
  return {accelerator().allocate_host(bytes), [](void* memory) { accelerator().release_host(memory); }};
}

}  // namespace caffe
