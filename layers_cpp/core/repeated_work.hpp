// Work on the GPU that stays the same from run to run: recorded when it is asked for again, then repeated as
// a whole, which costs the host one call instead of one for each kernel.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "core/accelerator.hpp"
#include "core/storage.hpp"

namespace caffe {

class RepeatedWork {
 public:
  // Queues what `body` queues. `fingerprint` stands for all that the work depends on but the contents of
  // memory; the first run of a new one calls the body, and brings all memory and plans into being. `storages`
  // are those the body may write to.
  void run(uint64_t fingerprint, const std::vector<Storage*>& storages, const std::function<void()>& body);

  // Whether the last run repeated a recording.
  bool repeated() const { return repeated_; }

 private:
  void record(const std::vector<Storage*>& storages, const std::function<void()>& body);

  uint64_t fingerprint_ = 0;  // of the last run
  bool repeated_ = false;
  std::unique_ptr<Recording> recording_;
  std::vector<Storage*> written_;  // storages whose pending zeros the recording replaces
};

// Mixes a value into a fingerprint (FNV-1a over 64-bit words).
inline uint64_t mix(uint64_t fingerprint, uint64_t value) { return (fingerprint ^ value) * 0x100000001b3u; }

}  // namespace caffe
