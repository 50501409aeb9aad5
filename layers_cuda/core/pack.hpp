// Sixteen bytes of consecutive values, which a thread reads or writes at once.
#pragma once

#include <cuda_runtime.h>

#include "core/dtype.hpp"

namespace caffe::cuda {

template <class T, int kCount = 16 / sizeof(T)>
struct alignas(kCount * sizeof(T)) Pack {
  static constexpr int count = kCount;
  T at[kCount];
};

// Whether whole packs may be read at these addresses: 16-byte aligned, as all blobs are unless the plan put
// them into somebody else's memory.
template <class... Pointers>
bool packable(const Pointers*... pointers) {
  return ((reinterpret_cast<uintptr_t>(pointers) % 16 == 0) && ...);
}

template <class T, int kCount = 16 / sizeof(T)>
__device__ inline Pack<T, kCount> load_pack(const T* from) {
  return *reinterpret_cast<const Pack<T, kCount>*>(from);
}

template <class T, int kCount>
__device__ inline void store_pack(T* to, const Pack<T, kCount>& pack) {
  *reinterpret_cast<Pack<T, kCount>*>(to) = pack;
}

}  // namespace caffe::cuda
