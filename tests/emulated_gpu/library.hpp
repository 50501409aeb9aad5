// What the vendor's libraries ask of their caller and leave behind: arrays and scratch that begin where their
// widest accesses may and that still exist when the work is done, as must those of work that was recorded;
// and scratch that is full of garbage afterwards.
#pragma once

#include <algorithm>
#include <cstring>
#include <initializer_list>
#include <iterator>
#include <vector>

#include "core/scratch.hpp"
#include "memory.hpp"
#include "queue.hpp"

namespace caffe::cuda {

constexpr size_t kLibraryScratch = 1000;  // bytes that every call takes

inline void require_aligned(const char* name, const void* address, size_t bytes) {
  if (reinterpret_cast<uintptr_t>(address) % bytes != 0)
    throw DeviceError(
        message(name, ": an array or its scratch does not begin at a multiple of ", bytes, " bytes"));
}

// Queues what a call does; null arrays are those it does without, `alignment` is what all others keep.
inline void queue_call(const Context& context, const char* name, size_t used,
                       std::initializer_list<const void*> arrays, std::function<void()> work,
                       size_t alignment = 16) {
  for (const void* array : arrays) require_aligned(name, array, alignment);
  void* scratch = Scratch(context, used).take(kLibraryScratch);
  require_aligned(name, scratch, 256);
  std::vector<const void*> all{scratch};
  std::copy_if(arrays.begin(), arrays.end(), std::back_inserter(all), [](auto array) { return array; });
  queue(context, name, [=] {
    emulation::require_reachable(name, all);
    std::memset(scratch, 0xff, kLibraryScratch);
    work();
    std::memset(scratch, 0xff, kLibraryScratch);
  });
}

}  // namespace caffe::cuda
