// A piece of memory that blobs share: allocated (and zeroed) at its first use, so that planning a net costs
// nothing. It may be a place in a larger storage, an arena, where others take turns with it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace caffe {

// Memory that all storages of the process own now, and how often one has asked the system for some.
struct Allocations {
  size_t bytes, count;
};
Allocations allocations();

class Storage {
 public:
  static constexpr size_t kAlignment = 64;

  // Asks for at least `bytes`. Never shrinks; growing drops the contents. Allocates nothing yet.
  void reserve(size_t bytes);

  // The memory, 64-byte aligned, zero when new.
  void* data();

  // Uses `bytes()` of `arena` from `offset` on, which other storages may overwrite when the plan says so; the
  // contents are unspecified at first. Lasts until the next alias() or a reserve() that must grow.
  void place(std::shared_ptr<Storage> arena, size_t offset);
  bool placed() const { return arena_ != nullptr; }

  // Makes the contents zero. Unless a view looks at them, the zeros are written only when somebody asks for
  // them.
  void clear();
  // The memory for a caller that overwrites all of it, so that pending zeros need not be written.
  void* overwrite();
  bool zero() const { return zero_ || !memory_; }

  // Uses memory owned by somebody else, who is kept alive through `owner`, until the next alias() or a
  // reserve() that must grow.
  void alias(void* memory, size_t bytes, std::shared_ptr<void> owner);

  size_t bytes() const { return bytes_; }
  bool allocated() const { return memory_ != nullptr; }
  std::shared_ptr<void> memory();  // the same, shared: keeps a view valid when the storage grows

  // Whoever derives something from the contents (packed weights) asks whether they may have changed since. A
  // view handed out to Python may write at any time, so they count as changed as long as one lives.
  void touch() { ++version_; }
  uint64_t version() const { return version_; }
  bool exposed() const { return views_ > 0; }
  void add_view() { ++views_; }
  void remove_view() {
    ++version_;
    --views_;
  }

 private:
  void* allocate();

  std::shared_ptr<void> memory_;
  std::shared_ptr<Storage> arena_;  // null for a storage with memory of its own
  size_t offset_ = 0;               // in the arena
  size_t bytes_ = 0;
  bool zero_ = false;  // cleared, but the zeros are not written yet
  std::atomic<uint64_t> version_{1};
  std::atomic<int> views_{0};
};

// Remembers which version of a storage something was derived from.
class Freshness {
 public:
  // True if the storage may differ from what it was at the last call.
  bool stale(const Storage& storage) {
    const bool changed = storage.exposed() || storage_ != &storage || version_ != storage.version();
    storage_ = &storage;
    version_ = storage.version();
    return changed;
  }
  void reset() { storage_ = nullptr; }

 private:
  const Storage* storage_ = nullptr;
  uint64_t version_ = 0;
};

}  // namespace caffe
