// A piece of memory that blobs share: allocated (and zeroed) at its first use, so that planning a net costs
// nothing. It may be a place in a larger storage, an arena, where others take turns with it.
//
// One on the GPU has a copy in the host's memory as soon as somebody there wants to look at it. The two are
// brought together when the host asks (host_data) and before and after every run (publish, device_wrote).
//
// Views are handed out to others, who may write at any time: views of the host (NumPy arrays) and views on
// the device. As long as one of the latter lives, the device's contents count, and what the host has changed
// is found by comparison. Work that others queue on CUDA's default stream runs in order with ours.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "core/device.hpp"

namespace caffe {

// Memory that all storages of the process own now, and how often one has asked the system for some.
struct Allocations {
  size_t bytes, count;
};
Allocations allocations();

class Storage {
 public:
  static constexpr size_t kAlignment = 64;

  explicit Storage(Device device = Device::cpu) : device_(device) {}
  Device device() const { return device_; }

  // Asks for at least `bytes`. Never shrinks; growing drops the contents. Allocates nothing yet.
  void reserve(size_t bytes);

  // The memory on the storage's own device, 64-byte aligned, zero when new.
  void* data();

  // The contents where the host can read them. Whoever writes there says so with host_wrote(), or adds a
  // view.
  void* host_data() { return host_memory().get(); }
  std::shared_ptr<void> host_memory();  // the same, shared: keeps a view valid when the storage grows
  void host_wrote();
  // Takes over what the host may have written, before a run on the device.
  void publish();
  // The host's copy is out of date from now on. If a view looks at it, it is renewed at once.
  void device_wrote();
  // The same in the middle of a run, when the host may have written since its beginning.
  void refresh();
  // For somebody who has added a device view: the memory on the device, shared, with what the host has
  // written.
  std::shared_ptr<void> device_memory();

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
  // Tells one piece of memory from another; 0 before there is any.
  uintptr_t address() const { return reinterpret_cast<uintptr_t>(memory_.get()); }

  // Uses memory owned by somebody else, who is kept alive through `owner`, until the next alias() or a
  // reserve() that must grow.
  void alias(void* memory, size_t bytes, std::shared_ptr<void> owner);

  size_t bytes() const { return bytes_; }
  bool allocated() const { return memory_ != nullptr; }

  // Whoever derives something from the contents (packed weights) asks whether they may have changed since. A
  // view handed out to Python may write at any time, so they count as changed as long as one lives.
  void touch() { ++version_; }
  uint64_t version() const { return version_; }
  bool exposed() const { return views_ > 0 || device_views_ > 0; }
  void add_view();
  void remove_view();
  void add_device_view();
  void remove_device_view();  // from any thread

 private:
  // The host's copy of memory on a device.
  struct Mirror {
    void remember(size_t bytes);  // in `original`

    std::shared_ptr<void> memory;
    bool stale = true;           // the device has newer contents
    bool written = false;        // the host may have
    bool uploading = false;      // queued work may still read it
    std::vector<char> original;  // its contents when it was last equal to the device's, if others write there
  };

  void* allocate();
  void write_zeros();
  void upload();
  bool host_changed() const;  // whether the device lacks what the host has written

  const Device device_;
  std::shared_ptr<void> memory_;
  std::unique_ptr<Mirror> mirror_;
  std::shared_ptr<Storage> arena_;  // null for a storage with memory of its own
  size_t offset_ = 0;               // in the arena
  size_t bytes_ = 0;
  bool zero_ = false;  // cleared, but the zeros are not written yet
  std::atomic<uint64_t> version_{1};
  std::atomic<int> views_{0}, device_views_{0};
};

// Adds up the storages that somebody owns, wherever among his members they are.
class Owner {
 public:
  Owner() = default;
  Owner(const Owner&) = delete;
  Owner& operator=(const Owner&) = delete;

  void add(const Storage& storage) { storages_.push_back(&storage); }
  void remove(const Storage& storage) { std::erase(storages_, &storage); }
  size_t bytes() const;

 private:
  std::vector<const Storage*> storages_;
};

// A storage that counts as its owner's for as long as it lives.
class Owned : public Storage {
 public:
  explicit Owned(Owner& owner, Device device = Device::cpu) : Storage(device), owner_(owner) {
    owner_.add(*this);
  }
  ~Owned() { owner_.remove(*this); }
  Owned(const Owned&) = delete;
  Owned& operator=(const Owned&) = delete;

 private:
  Owner& owner_;
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
