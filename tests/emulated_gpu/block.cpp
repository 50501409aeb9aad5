// A thread runs until it waits for others; then the next one runs, on another fiber. Threads that never wait
// share one fiber, so that they cost no switch.
#include "block.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <utility>
#include <vector>

#include "core/error.hpp"
#include "device_threads.h"
#include "fiber.hpp"

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace caffe::emulation {
namespace {

enum class State { runnable, at_barrier, in_exchange, ended };

struct Thread {
  State state = State::runnable;
  Fiber* fiber = nullptr;
  Place place;  // where it waits
  // Of an exchange in the warp.
  Exchange exchange = Exchange::nothing;
  unsigned mask = 0;
  int source = 0;
  uint64_t value = 0, result = 0;
};

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};

unsigned count(dim3 size) { return size.x * size.y * size.z; }

uint3 position(unsigned index, dim3 size) {
  return {index % size.x, index / size.x % size.y, index / size.x / size.y};
}

std::string text(uint3 position) { return message(position.x, ",", position.y, ",", position.z); }

class Scheduler {
 public:
  void run(const Kernel& kernel);
  void run_fiber();

  void meet_block(Place place);
  uint64_t meet_warp(Exchange exchange, unsigned mask, uint64_t value, int source, Place place);

  unsigned current() const { return current_; }
  void* shared() const { return shared_.get(); }

 private:
  void run_block();
  void run_thread(unsigned index);
  void start_threads();
  void wait(State state, Place place);
  void wake(unsigned index);
  void complete_exchange(Thread* warp, unsigned mask);

  [[noreturn]] void fail(const std::string& what);
  void check_exchange(const Thread& mine, const Thread& other);
  std::string deadlock() const;
  void abandon();

  const Kernel* kernel_ = nullptr;
  std::unique_ptr<char, Free> shared_;
  bool backwards_ = false;
  unsigned count_ = 0, next_ = 0, ended_ = 0, at_barrier_ = 0;
  unsigned current_ = 0;
  std::vector<Thread> threads_;
  std::deque<unsigned> ready_;
  std::string failure_;

  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<Fiber*> idle_;
};

Scheduler& scheduler() {
  static auto* scheduler = new Scheduler;  // never destroyed: queues may run until the process ends
  return *scheduler;
}

void Scheduler::run(const Kernel& kernel) {
  kernel_ = &kernel;
  blockDim = kernel.threads;
  gridDim = kernel.blocks;
  count_ = count(blockDim);
  void* shared = nullptr;
  if (posix_memalign(&shared, 16, kernel.shared_bytes) != 0) throw std::bad_alloc();
  shared_.reset(static_cast<char*>(shared));
  // Code that relies on the order of blocks or threads fails in one launch of two.
  backwards_ = !backwards_;
  const unsigned blocks = count(gridDim);
  for (unsigned i = 0; i < blocks; ++i) {
    blockIdx = position(backwards_ ? blocks - 1 - i : i, gridDim);
    run_block();
  }
  shared_.reset();
}

void Scheduler::run_block() {
  std::memset(shared_.get(), 0xff, kernel_->shared_bytes);  // NaN
  threads_.assign(count_, Thread());
  next_ = ended_ = at_barrier_ = 0;
  while (ended_ < count_) {
    if (!ready_.empty()) {
      current_ = ready_.front();
      ready_.pop_front();
      threadIdx = position(current_, blockDim);
      threads_[current_].fiber->resume();
    } else if (next_ < count_) {
      start_threads();
    } else {
      failure_ = deadlock();
    }
    if (!failure_.empty()) abandon();
  }
}

void Scheduler::start_threads() {
  if (idle_.empty()) {
    fibers_.push_back(std::make_unique<Fiber>([] { scheduler().run_fiber(); }));
    idle_.push_back(fibers_.back().get());
  }
  Fiber* fiber = idle_.back();
  idle_.pop_back();
  fiber->resume();
}

void Scheduler::run_fiber() {
  for (;;) {
    while (next_ < count_ && ready_.empty()) {
      const unsigned index = next_++;
      run_thread(backwards_ ? count_ - 1 - index : index);
    }
    idle_.push_back(Fiber::current());
    Fiber::pause();
  }
}

void Scheduler::run_thread(unsigned index) {
  current_ = index;
  threadIdx = position(index, blockDim);
  threads_[index].fiber = Fiber::current();
  kernel_->thread();
  threads_[index].state = State::ended;
  ++ended_;
}

void Scheduler::wait(State state, Place place) {
  threads_[current_].state = state;
  threads_[current_].place = place;
  Fiber::pause();
}

void Scheduler::wake(unsigned index) {
  threads_[index].state = State::runnable;
  if (index != current_) ready_.push_back(index);
}

void Scheduler::meet_block(Place place) {
  if (++at_barrier_ < count_) return wait(State::at_barrier, place);
  at_barrier_ = 0;
  for (unsigned i = 0; i < count_; ++i) {
    const Place& other = threads_[i].place;
    if (i != current_ && (other.line() != place.line() || other.column() != place.column()))
      fail(message("threads wait at __syncthreads() in line ", place.line(), " and at another one in line ",
                   other.line(), " of ", place.file_name()));
    wake(i);
  }
}

uint64_t Scheduler::meet_warp(Exchange exchange, unsigned mask, uint64_t value, int source, Place place) {
  const unsigned first = current_ / warpSize * warpSize, lanes = std::min<unsigned>(warpSize, count_ - first);
  Thread* warp = &threads_[first];
  Thread& mine = threads_[current_];
  mine.exchange = exchange;
  mine.mask = mask;
  mine.source = source;
  mine.value = value;
  mine.place = place;
  if ((mask >> (current_ - first) & 1) == 0)
    fail(message("a lane is not in its own mask, in line ", place.line()));
  bool complete = true;
  for (unsigned i = 0; i < warpSize && complete; ++i) {
    if ((mask >> i & 1) == 0 || first + i == current_) continue;
    complete = i < lanes && warp[i].state == State::in_exchange;
    if (complete) check_exchange(mine, warp[i]);
  }
  if (complete)
    complete_exchange(warp, mask);
  else
    wait(State::in_exchange, place);
  return mine.result;
}

void Scheduler::check_exchange(const Thread& mine, const Thread& other) {
  if (mine.exchange == other.exchange && mine.mask == other.mask) return;
  fail(message("lanes of a warp meet with different masks or functions, in line ", mine.place.line(),
               " and in line ", other.place.line(), " of ", mine.place.file_name()));
}

void Scheduler::complete_exchange(Thread* warp, unsigned mask) {
  uint64_t votes = 0;
  for (unsigned i = 0; i < warpSize; ++i)
    if (mask >> i & 1) votes |= uint64_t(warp[i].value != 0) << i;
  for (unsigned i = 0; i < warpSize; ++i) {
    if ((mask >> i & 1) == 0) continue;
    Thread& lane = warp[i];
    const bool defined = lane.source >= 0 && lane.source < warpSize && (mask >> lane.source & 1);
    lane.result = lane.exchange == Exchange::votes ? votes : defined ? warp[lane.source].value : ~uint64_t(0);
    wake(static_cast<unsigned>(&lane - threads_.data()));
  }
}

// Leaves the fiber for good; run_block() goes on and finds the message.
void Scheduler::fail(const std::string& what) {
  failure_ = what;
  Fiber::pause();
  __builtin_unreachable();
}

std::string Scheduler::deadlock() const {
  const Thread* waiting = nullptr;
  for (const Thread& thread : threads_)
    if (thread.state != State::ended) waiting = &thread;
  if (waiting->state == State::at_barrier)
    return message(at_barrier_, " of ", count_, " threads wait at __syncthreads() in line ",
                   waiting->place.line(), " of ", waiting->place.file_name(), ", ", ended_, " have ended");
  return message("a lane waits in line ", waiting->place.line(), " of ", waiting->place.file_name(),
                 " for lanes of its warp's mask ", std::hex, "0x", waiting->mask,
                 " that have ended, wait elsewhere or do not exist");
}

void Scheduler::abandon() {
  ready_.clear();
  idle_.clear();
  for (auto& fiber : fibers_) {
    fiber->restart();
    idle_.push_back(fiber.get());
  }
  const std::string what = std::exchange(failure_, "");
  throw KernelFailure(message("kernel ", kernel_->name, ", block ", text(blockIdx), " of ",
                              text({gridDim.x, gridDim.y, gridDim.z}), ": ", what));
}

}  // namespace

void run(const Kernel& kernel) { scheduler().run(kernel); }

void meet_block(Place place) { scheduler().meet_block(place); }

uint64_t meet_warp(Exchange exchange, unsigned mask, uint64_t value, int source, Place place) {
  return scheduler().meet_warp(exchange, mask, value, source, place);
}

int lane() { return static_cast<int>(scheduler().current() % warpSize); }

void* dynamic_shared_memory() { return scheduler().shared(); }

}  // namespace caffe::emulation
