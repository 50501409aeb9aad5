#include "core/storage.hpp"

#include <cstdlib>
#include <cstring>
#include <new>

namespace caffe {
namespace {

std::atomic<size_t> allocated_bytes{0}, allocation_count{0};

// 64-byte aligned.
std::shared_ptr<void> allocate_bytes(size_t bytes) {
  void* fresh = std::aligned_alloc(Storage::kAlignment, bytes);
  if (!fresh) throw std::bad_alloc();
  allocated_bytes += bytes;
  ++allocation_count;
  return {fresh, [bytes](void* memory) {
            std::free(memory);
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
  arena_.reset();
  touch();
}

void Storage::place(std::shared_ptr<Storage> arena, size_t offset) {
  memory_.reset();
  arena_ = std::move(arena);
  offset_ = offset;
  zero_ = false;
  touch();
}

void* Storage::allocate() {
  if (arena_) {
    void* place = static_cast<char*>(arena_->overwrite()) + offset_;
    memory_ = std::shared_ptr<void>(arena_->memory(), place);
    return place;
  }
  const size_t rounded = (bytes_ + kAlignment - 1) / kAlignment * kAlignment;
  memory_ = allocate_bytes(rounded ? rounded : kAlignment);
  zero_ = true;
  return memory_.get();
}

void* Storage::data() {
  if (!memory_) allocate();
  if (zero_) std::memset(memory_.get(), 0, bytes_);
  zero_ = false;
  return memory_.get();
}

void Storage::clear() {
  zero_ = memory_ != nullptr;
  if (zero_ && exposed()) data();
}

void* Storage::overwrite() {
  if (!memory_) allocate();
  zero_ = false;
  return memory_.get();
}

void Storage::alias(void* memory, size_t bytes, std::shared_ptr<void> owner) {
  memory_ = std::shared_ptr<void>(std::move(owner), memory);
  arena_.reset();
  bytes_ = bytes;
  zero_ = false;
  touch();
}

std::shared_ptr<void> Storage::memory() {
  data();
  return memory_;
}

}  // namespace caffe
