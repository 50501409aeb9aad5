// A function with a stack of its own, which can stop in the middle and go on later. One runs at a time.
#pragma once

#include <cstddef>

namespace caffe::emulation {

class Fiber {
 public:
  // `body` never returns: it pauses.
  explicit Fiber(void (*body)());
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // Runs the fiber, from where it paused, until it pauses. Not to be called inside a fiber.
  void resume();
  // Forgets where the fiber paused: the next resume() begins the body. Nothing on its stack is destroyed.
  void restart();

  static Fiber* current();  // null outside
  static void pause();

 private:
  static void enter();

  void (*body_)();
  char* memory_;                // the stack, above a page that may not be touched
  void* top_;                   // of the paused stack
  void* fake_stack_ = nullptr;  // of the address sanitizer
};

}  // namespace caffe::emulation
