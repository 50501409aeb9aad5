#include "core/storage.hpp"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <new>

#include "core/accelerator.hpp"
#include "core/error.hpp"

namespace caffe {
namespace {

std::atomic<size_t> allocated_bytes{0}, allocation_count{0};

// Large arrays begin at a page of 2 MiB and ask for such pages: with the usual ones of 4 KiB the processor
// spends some per cent of a step on finding out where they are.
void* allocate_host(size_t bytes) {
  constexpr size_t kHugePage = size_t{2} << 20;
  const bool large = bytes >= kHugePage;
  void* fresh = nullptr;
  if (posix_memalign(&fresh, large ? kHugePage : Storage::kAlignment, bytes) != 0) throw std::bad_alloc();
#ifdef MADV_HUGEPAGE
  if (large) madvise(fresh, bytes, MADV_HUGEPAGE);  // where the system has none, nothing changes
#endif
  return fresh;
}

void release(Device device, void* memory) {
  if (device == Device::cpu)
    std::free(memory);
  else
    accelerator().release(memory);
}

// 64-byte aligned.
std::shared_ptr<void> allocate_bytes(Device device, size_t bytes) {
  void* fresh = device == Device::cpu ? allocate_host(bytes) : accelerator().allocate(bytes);
  allocated_bytes += bytes;
  ++allocation_count;
  return {fresh, [=](void* memory) {
            release(device, memory);
            allocated_bytes -= bytes;
          }};
}

}  // namespace

Allocations allocations() { return {allocated_bytes, allocation_count}; }

void Storage::reserve(size_t bytes) {
  if (bytes <= bytes_) return;
  bytes_ = bytes;
  zero_ = false;
  memory_.reset();
  mirror_.reset();
  arena_.reset();
  touch();
}

void Storage::place(std::shared_ptr<Storage> arena, size_t offset) {
  memory_.reset();
  mirror_.reset();
  arena_ = std::move(arena);
  offset_ = offset;
  zero_ = false;
  touch();
}

void* Storage::allocate() {
  if (arena_) {
    void* place = static_cast<char*>(arena_->overwrite()) + offset_;
    memory_ = std::shared_ptr<void>(arena_->memory_, place);
    return place;
  }
  const size_t rounded = (bytes_ + kAlignment - 1) / kAlignment * kAlignment;
  memory_ = allocate_bytes(device_, rounded ? rounded : kAlignment);
  zero_ = true;
  return memory_.get();
}

void Storage::write_zeros() {
  if (device_ == Device::cpu)
    std::memset(memory_.get(), 0, bytes_);
  else
    accelerator().clear(memory_.get(), bytes_);
  zero_ = false;
}

void* Storage::data() {
  if (!memory_) allocate();
  if (zero_) write_zeros();
  if (mirror_ && mirror_->written) {
    if (host_changed()) upload();
    mirror_->written = false;
  }
  return memory_.get();
}

void Storage::clear() {
  zero_ = memory_ != nullptr;
  if (zero_ && exposed()) write_zeros();
  device_wrote();
}

void* Storage::overwrite() {
  if (!memory_) allocate();
  zero_ = false;
  if (mirror_) mirror_->written = false;
  return memory_.get();
}

void Storage::alias(void* memory, size_t bytes, std::shared_ptr<void> owner) {
  memory_ = std::shared_ptr<void>(std::move(owner), memory);
  arena_.reset();
  bytes_ = bytes;
  zero_ = false;
  touch();
}

std::shared_ptr<void> Storage::host_memory() {
  data();
  if (device_ == Device::cpu) return memory_;
  const bool others_write = device_views_ > 0;
  if (others_write || (mirror_ && !mirror_->original.empty())) publish();
  if (!mirror_) mirror_ = std::make_unique<Mirror>(Mirror{.memory = allocate_pinned(bytes_), .original = {}});
  if (mirror_->stale) accelerator().download(mirror_->memory.get(), memory_.get(), bytes_);
  if (mirror_->stale || mirror_->uploading) accelerator().wait();
  mirror_->stale = others_write;
  mirror_->uploading = false;
  mirror_->original.clear();
  if (others_write) mirror_->remember(bytes_);
  return mirror_->memory;
}

std::shared_ptr<void> Storage::device_memory() {
  data();
  publish();
  if (mirror_) {
    mirror_->stale = true;
    if (views_ > 0) mirror_->remember(bytes_);
  }
  touch();
  accelerator().precede(kDefaultStream);
  return memory_;
}

void Storage::host_wrote() {
  touch();
  if (mirror_) mirror_->written = true;
}

void Storage::Mirror::remember(size_t bytes) {
  const auto* begin = static_cast<const char*>(memory.get());
  original.assign(begin, begin + bytes);
}

bool Storage::host_changed() const {
  if (!mirror_ || !(mirror_->written || views_ > 0)) return false;
  if (mirror_->original.empty()) return !mirror_->stale;
  return std::memcmp(mirror_->memory.get(), mirror_->original.data(), bytes_) != 0;
}

void Storage::upload() {
  accelerator().upload(memory_.get(), mirror_->memory.get(), bytes_);
  mirror_->uploading = true;
  mirror_->written = false;
  if (!mirror_->original.empty()) mirror_->remember(bytes_);
}

void Storage::publish() {
  if (device_views_ > 0) accelerator().follow(kDefaultStream);
  if (!host_changed()) return;
  upload();
  if (views_ == 0) return;
  accelerator().wait();  // whoever holds a view may write at any time
  mirror_->uploading = false;
}

void Storage::device_wrote() {
  if (device_views_ > 0) accelerator().precede(kDefaultStream);
  if (!mirror_) return;
  mirror_->stale = true;
  mirror_->written = false;
  mirror_->original.clear();
  if (views_ > 0) host_memory();
}

void Storage::refresh() {
  if (!mirror_) return;
  data();
  device_wrote();
}

void Storage::add_view() {
  ++views_;
  touch();
}

void Storage::remove_view() {
  --views_;
  host_wrote();
  if (device_views_ == 0) return;
  try {
    data();
    accelerator().precede(kDefaultStream);
  } catch (const DeviceError&) {
    // A view ends anywhere. Whoever uses the device next is told.
  }
}

void Storage::add_device_view() { ++device_views_; }

void Storage::remove_device_view() {
  --device_views_;
  touch();
}

size_t Owner::bytes() const {
  size_t sum = 0;
  for (const Storage* storage : storages_) sum += storage->bytes();
  return sum;
}

}  // namespace caffe
