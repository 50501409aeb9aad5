#include "core/storage.hpp"

#include <cstdlib>
#include <cstring>
#include <new>

namespace caffe {

void Storage::reserve(size_t bytes) {
  if (bytes <= bytes_) return;
  bytes_ = bytes;
  zero_ = false;
  memory_.reset();
  touch();
}

void* Storage::allocate() {
  const size_t rounded = (bytes_ + kAlignment - 1) / kAlignment * kAlignment;
  void* fresh = std::aligned_alloc(kAlignment, rounded ? rounded : kAlignment);
  if (!fresh) throw std::bad_alloc();
  memory_ = std::shared_ptr<void>(fresh, std::free);
  zero_ = true;
  return fresh;
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
  bytes_ = bytes;
  zero_ = false;
  touch();
}

std::shared_ptr<void> Storage::memory() {
  data();
  return memory_;
}

}  // namespace caffe
