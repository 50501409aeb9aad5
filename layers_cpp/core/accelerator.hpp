// The GPU as the core sees it; layers_cuda implements it, if it is built. One of them serves the process.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace caffe {

// Work that was recorded once and runs again as a whole.
class Recording {
 public:
  virtual ~Recording() = default;
  virtual void run() = 0;  // queued
};

// A moment in the queue.
class Moment {
 public:
  virtual ~Moment() = default;
  virtual void wait() = 0;                                 // until all that was queued before it is done
  virtual double milliseconds_since(Moment& earlier) = 0;  // waits for both
};

// A queue of somebody else: CUDA's default stream, on which other packages work unless told otherwise.
inline constexpr void* kDefaultStream = nullptr;

// Work is queued in order and done later, unless a function says that it waits. Errors of queued work show up
// at a wait. Throws DeviceError.
class Accelerator {
 public:
  virtual ~Accelerator() = default;

  virtual void enter_thread() {}  // before a thread's first call of anything else

  virtual void* allocate(size_t bytes) = 0;  // 256-byte aligned
  virtual void release(void* memory) noexcept = 0;
  virtual void* allocate_host(size_t bytes) = 0;  // memory of the host that the device can read directly
  virtual void release_host(void* memory) noexcept = 0;

  virtual void clear(void* memory, size_t bytes) = 0;
  virtual void copy(void* to, const void* from, size_t bytes) = 0;  // both on the device
  // `from` lies in memory from allocate_host, or the call waits. It may change only after a wait.
  virtual void upload(void* to, const void* from, size_t bytes) = 0;
  virtual void download(void* to, const void* from, size_t bytes) = 0;  // `to` is filled after a wait
  // At most 256 bytes, which are copied at once: for numbers that recorded work reads.
  virtual void store(void* to, const void* from, size_t bytes) = 0;
  virtual void wait() = 0;

  // An upload beside the queue, while the device computes; nothing else may touch `to` before it has arrived.
  // Work that is queued after queue_wait() does not start before that moment.
  virtual std::unique_ptr<Moment> upload_aside(void* to, const void* from, size_t bytes) = 0;
  virtual void queue_wait(Moment& moment) = 0;

  virtual void* stream() = 0;  // a cudaStream_t
  // Order with the work of somebody else on his stream: what he queues from now on waits for what has been
  // queued here, and the other way round.
  virtual void precede(void* stream) = 0;
  virtual void follow(void* stream) = 0;
  virtual std::unique_ptr<Moment> mark() = 0;
  // Runs `body`, which queues work and neither waits nor allocates; records the work instead of doing it.
  virtual std::unique_ptr<Recording> record(const std::function<void()>& body) = 0;
};

// The accelerator of this process, for any thread; the first call sets it up. Throws DeviceError where there
// is none.
Accelerator& accelerator();
// Memory of the host that the device can read and write directly, for as long as somebody owns it.
std::shared_ptr<void> allocate_pinned(size_t bytes);
// Whether accelerator() has been called with success: nothing is on the device before.
bool accelerator_in_use();

// What the CUDA part registers when it is built, and the number of the device to use (before the first use).
using AcceleratorFactory = std::function<std::unique_ptr<Accelerator>(int device)>;
void register_accelerator(AcceleratorFactory factory);
bool accelerator_built();
void choose_accelerator(int device);
int chosen_accelerator();

// What the CUDA part was built with and finds here.
struct AcceleratorReport {
  std::vector<int> architectures;               // 10 times the compute capabilities that it was compiled for
  int runtime_version = 0, driver_version = 0;  // 1000 times the major one + 10 times the minor one; 0: none
  int devices = 0;
  std::string problem;  // why there are none
};

struct AcceleratorProperties {
  std::string name;
  std::map<std::string, int64_t> numbers;
};

// Questions about devices, also registered by the CUDA part. None of them sets the process's accelerator up.
struct AcceleratorQueries {
  std::function<AcceleratorReport()> report;
  std::function<AcceleratorProperties(int device)> properties;
  std::function<std::pair<size_t, size_t>(int device)>
      memory;  // free and total bytes, in a context of CUDA's
};
void register_accelerator_queries(AcceleratorQueries queries);
const AcceleratorQueries& accelerator_queries();  // throws DeviceError without the CUDA part

}  // namespace caffe
