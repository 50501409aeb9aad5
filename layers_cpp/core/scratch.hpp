// Temporaries of one call, laid out one behind the other in the scratch that all layers share.
#pragma once

#include "core/layer.hpp"

namespace caffe {

inline size_t scratch_size(size_t bytes) {
  return (bytes + Storage::kAlignment - 1) / Storage::kAlignment * Storage::kAlignment;
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
