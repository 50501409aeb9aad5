#include "core/storage.hpp"

#include <cstdlib>
#include <cstring>
#include <new>

#include "core/accelerator.hpp"

namespace caffe {
namespace {

std::atomic<size_t> allocated_bytes{0}, allocation_count{0};

void* allocate_host(size_t bytes) {
  void* fresh = std::aligned_alloc(Storage::kAlignment, bytes);
  if (!fresh) throw std::bad_alloc();
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

std::shared_ptr<void> allocate_mirror(size_t bytes) {
  return {accelerator().allocate_host(bytes), [](void* memory) { accelerator().release_host(memory); }};
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
  if (mirror_ && mirror_->written) upload();
  return memory_.get();
}

void Storage::clear() {
  zero_ = memory_ != nullptr;
  device_wrote();
  if (zero_ && exposed()) data();
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
  if (!mirror_) mirror_ = std::make_unique<Mirror>(Mirror{.memory = allocate_mirror(bytes_)});
  if (mirror_->stale) accelerator().download(mirror_->memory.get(), memory_.get(), bytes_);
  if (mirror_->stale || mirror_->uploading) accelerator().wait();
  mirror_->stale = mirror_->uploading = false;
  return mirror_->memory;
}

void Storage::host_wrote() {
  touch();
  if (mirror_) mirror_->written = true;
}

void Storage::upload() {
  accelerator().upload(memory_.get(), mirror_->memory.get(), bytes_);
  mirror_->uploading = true;
  mirror_->written = false;
}

void Storage::publish() {
  if (!mirror_ || mirror_->stale || !(mirror_->written || exposed())) return;
  upload();
  if (!exposed()) return;
  accelerator().wait();  // whoever holds a view may write at any time
  mirror_->uploading = false;
}

void Storage::device_wrote() {
  if (!mirror_) return;
  mirror_->stale = true;
  mirror_->written = false;
  if (exposed()) host_memory();
}

void Storage::remove_view() {
  --views_;
  host_wrote();
}

}  // namespace caffe
