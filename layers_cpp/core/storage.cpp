#include "core/storage.hpp"

#include <cstdlib>
#include <cstring>
#include <new>

namespace caffe {

void Storage::reserve(size_t bytes) {
  if (bytes <= bytes_) return;
  bytes_ = bytes;
  memory_.reset();
  touch();
}

void* Storage::data() {
  if (!memory_) {
    const size_t rounded = (bytes_ + kAlignment - 1) / kAlignment * kAlignment;
    void* fresh = std::aligned_alloc(kAlignment, rounded ? rounded : kAlignment);
    if (!fresh) throw std::bad_alloc();
    memory_ = std::shared_ptr<void>(fresh, std::free);
    std::memset(fresh, 0, rounded);
  }
  return memory_.get();
}

void Storage::alias(void* memory, size_t bytes, std::shared_ptr<void> owner) {
  memory_ = std::shared_ptr<void>(std::move(owner), memory);
  bytes_ = bytes;
  touch();
}

std::shared_ptr<void> Storage::memory() {
  data();
  return memory_;
}

}  // namespace caffe
