// Temporaries of one call, laid out one behind the other in the scratch that all layers share.
#pragma once

#include "core/layer.hpp"

namespace caffe {

// Each begins where an allocation on the GPU may begin: some kernels of cuBLASLt and cuDNN for Hopper fail on
// scratch that does not, whatever they say of the arrays.
inline size_t scratch_size(size_t bytes) {
  constexpr size_t kAlignment = 256;
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

struct Scratch {
  Scratch(const Context& context, size_t used)
      : base(static_cast<char*>(context.scratch->data())), used(used) {}

  template <class T = void>
  T* take(size_t bytes) {
    T* place = static_cast<T*>(static_cast<void*>(base + used));
    used += scratch_size(bytes);
    return place;
  }

  char* base;
  size_t used;  // bytes in use; what is called next may use the rest
};

}  // namespace caffe
