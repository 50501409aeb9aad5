// Lists of arrays, and of numbers that belong to them, as arguments of a kernel.
#pragma once

#include <algorithm>
#include <type_traits>

#include "core/pack.hpp"

namespace caffe::cuda {

constexpr int kMostArrays = 64;  // that one launch can take
constexpr int kFewArrays = 4;    // up to here a kernel knows the number when it is compiled

template <class T, int kMost = kMostArrays>
struct ArrayList {
  T* at[kMost] = {};
  int count = 0;

  void add(T* array) { at[count++] = array; }
  bool full() const { return count == kMost; }
  bool packable() const {
    return std::all_of(at, at + count, [](const T* array) { return cuda::packable(array); });
  }

  // A constant for a short list, so that loops over it are unrolled.
  __device__ int length() const { return kMost <= kFewArrays ? kMost : count; }

  template <int kFewer>
  ArrayList<T, kFewer> shortened() const {
    ArrayList<T, kFewer> list;
    for (int i = 0; i < count; ++i) list.add(at[i]);
    return list;
  }
};

template <int kMost = kMostArrays>
struct Weights {
  float at[kMost] = {};

  template <int kFewer>
  Weights<kFewer> shortened() const {
    Weights<kFewer> weights;
    std::copy_n(at, kFewer, weights.at);
    return weights;
  }
};

// Calls body with the constant that a list of this length is to be shortened to.
template <class T, class Body>
void with_length(const ArrayList<T>& list, Body&& body) {
  switch (list.count) {
    case 1:
      return body(std::integral_constant<int, 1>());
    case 2:
      return body(std::integral_constant<int, 2>());
    case 3:
      return body(std::integral_constant<int, 3>());
    case 4:
      return body(std::integral_constant<int, 4>());
    default:
      return body(std::integral_constant<int, kMostArrays>());
  }
}

}  // namespace caffe::cuda
