// Who a thread of a kernel is, and how it waits for the others of its block or warp.
#pragma once

#include <cstdint>
#include <cstring>
#include <source_location>
#include <type_traits>

#include "vector_types.h"

extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
constexpr int warpSize = 32;

namespace caffe::emulation {

using Place = std::source_location;

// What the threads of a warp that meet want of each other.
enum class Exchange { nothing, value, votes };

void meet_block(Place place);
// All lanes of `mask` meet here with the same `exchange`. Returns the value that lane `source` came with, or
// as bits which lanes came with a value other than 0.
uint64_t meet_warp(Exchange exchange, unsigned mask, uint64_t value, int source, Place place);

int lane();  // of the calling thread
void* dynamic_shared_memory();

template <class T>
T shuffle(unsigned mask, T value, int source, Place place) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= 8);
  uint64_t word = 0;
  std::memcpy(&word, &value, sizeof(T));
  word = meet_warp(Exchange::value, mask, word, source, place);
  std::memcpy(&value, &word, sizeof(T));
  return value;
}

inline unsigned vote(unsigned mask, bool yes, Place place) {
  return static_cast<unsigned>(meet_warp(Exchange::votes, mask, yes, 0, place));
}

}  // namespace caffe::emulation

inline void __syncthreads(caffe::emulation::Place place = caffe::emulation::Place::current()) {
  caffe::emulation::meet_block(place);
}
inline void __syncwarp(unsigned mask = 0xffffffffu,
                       caffe::emulation::Place place = caffe::emulation::Place::current()) {
  caffe::emulation::meet_warp(caffe::emulation::Exchange::nothing, mask, 0, 0, place);
}
inline void __threadfence() {}
inline void __threadfence_block() {}

// `width` (a power of two) cuts the warp into parts. A source beyond the end of the part is oneself.
template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = warpSize,
              caffe::emulation::Place place = caffe::emulation::Place::current()) {
  const int first = caffe::emulation::lane() & ~(width - 1);
  return caffe::emulation::shuffle(mask, value, first + (source & (width - 1)), place);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = warpSize,
                 caffe::emulation::Place place = caffe::emulation::Place::current()) {
  const int lane = caffe::emulation::lane(), source = lane - static_cast<int>(delta);
  return caffe::emulation::shuffle(mask, value, source < (lane & ~(width - 1)) ? lane : source, place);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = warpSize,
                   caffe::emulation::Place place = caffe::emulation::Place::current()) {
  const int lane = caffe::emulation::lane(), source = lane + static_cast<int>(delta);
  return caffe::emulation::shuffle(mask, value, source > (lane | (width - 1)) ? lane : source, place);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int flipped, int width = warpSize,
                  caffe::emulation::Place place = caffe::emulation::Place::current()) {
  const int lane = caffe::emulation::lane(), source = lane ^ flipped;
  return caffe::emulation::shuffle(mask, value, source > (lane | (width - 1)) ? lane : source, place);
}

inline unsigned __ballot_sync(unsigned mask, int predicate,
                              caffe::emulation::Place place = caffe::emulation::Place::current()) {
  return caffe::emulation::vote(mask, predicate != 0, place);
}
inline int __any_sync(unsigned mask, int predicate,
                      caffe::emulation::Place place = caffe::emulation::Place::current()) {
  return caffe::emulation::vote(mask, predicate != 0, place) != 0;
}
inline int __all_sync(unsigned mask, int predicate,
                      caffe::emulation::Place place = caffe::emulation::Place::current()) {
  return caffe::emulation::vote(mask, predicate != 0, place) == mask;
}
