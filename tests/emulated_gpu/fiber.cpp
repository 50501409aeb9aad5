// Switches stacks on x86-64 with System V's calling convention: what a function must preserve lies on the
// stack that is left, and the stack pointer says where.
#include "fiber.hpp"

#include <sys/mman.h>

#include <cstdint>
#include <new>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

asm(R"(
.text
.type caffe_emulation_switch, @function
caffe_emulation_switch:  # (void** left, void* entered)
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size caffe_emulation_switch, .-caffe_emulation_switch
)");
extern "C" __attribute__((visibility("hidden"))) void caffe_emulation_switch(void** left, void* entered);

namespace caffe::emulation {
namespace {

constexpr size_t kPage = 4096, kStack = 64 * kPage;

// Plain globals, although several threads of the operating system may run kernels one after the other: a
// fiber may be paused by one and resumed by another, so that thread-local variables would be wrong ones.
Fiber* running = nullptr;
void* outside = nullptr;  // top of the stack that resume() was called on
const void* outside_bottom = nullptr;
size_t outside_size = 0;

// The address sanitizer must know which stack is in use.
void announce([[maybe_unused]] void** fake_stack, [[maybe_unused]] const void* bottom,
              [[maybe_unused]] size_t size) {
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_start_switch_fiber(fake_stack, bottom, size);
#endif
}

void arrive([[maybe_unused]] void* fake_stack, [[maybe_unused]] const void** left_bottom,
            [[maybe_unused]] size_t* left_size) {
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(fake_stack, left_bottom, left_size);
#endif
}

char* new_stack() {
  void* memory = mmap(nullptr, kPage + kStack, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  mprotect(memory, kPage, PROT_NONE);
  return static_cast<char*>(memory) + kPage;
}

// Stacks that all ended at the start of a page would share a few sets of the cache.
size_t offset_of_next_stack() {
  static size_t count = 0;
  return count++ * 192 % kPage;
}

}  // namespace

Fiber::Fiber(void (*body)()) : body_(body), memory_(new_stack()) { restart(); }

Fiber::~Fiber() { munmap(memory_ - kPage, kPage + kStack); }

void Fiber::restart() {
#ifdef __SANITIZE_ADDRESS__
  ASAN_UNPOISON_MEMORY_REGION(memory_, kStack);
#endif
  constexpr size_t kSavedRegisters = 6;
  auto* place = reinterpret_cast<uintptr_t*>(memory_ + kStack - offset_of_next_stack());
  *--place = 0;  // where enter() would return to; also aligns the stack as after a call
  *--place = reinterpret_cast<uintptr_t>(&Fiber::enter);
  for (size_t i = 0; i < kSavedRegisters; ++i) *--place = 0;
  top_ = place;
  fake_stack_ = nullptr;
}

void Fiber::enter() {
  arrive(nullptr, &outside_bottom, &outside_size);
  running->body_();
  __builtin_trap();
}

Fiber* Fiber::current() { return running; }

void Fiber::resume() {
  running = this;
  void* fake_stack = nullptr;
  announce(&fake_stack, memory_, kStack);
  caffe_emulation_switch(&outside, top_);
  arrive(fake_stack, nullptr, nullptr);
  running = nullptr;
}

void Fiber::pause() {
  Fiber* self = running;
  announce(&self->fake_stack_, outside_bottom, outside_size);
  caffe_emulation_switch(&self->top_, outside);
  arrive(self->fake_stack_, &outside_bottom, &outside_size);
}

}  // namespace caffe::emulation
