// Atomic functions. Threads take turns only where they wait for each other, so plain code is atomic.
#pragma once

#include <algorithm>
#include <concepts>
#include <type_traits>
#include <utility>

namespace caffe::emulation {

template <class T, class... Types>
concept one_of = (std::same_as<T, Types> || ...);

// The types the real functions take, no others.
template <class T>
concept atomic_sum = one_of<T, int, unsigned, unsigned long long, float, double>;
template <class T>
concept atomic_integer = one_of<T, int, unsigned, unsigned long long>;
template <class T>
concept atomic_order = one_of<T, int, unsigned, long long, unsigned long long>;

}  // namespace caffe::emulation

template <caffe::emulation::atomic_sum T>
T atomicAdd(T* address, std::type_identity_t<T> value) {
  return std::exchange(*address, static_cast<T>(*address + value));
}
template <caffe::emulation::one_of<int, unsigned> T>
T atomicSub(T* address, std::type_identity_t<T> value) {
  return std::exchange(*address, *address - value);
}
template <caffe::emulation::one_of<int, unsigned, unsigned long long, float> T>
T atomicExch(T* address, std::type_identity_t<T> value) {
  return std::exchange(*address, value);
}
template <caffe::emulation::atomic_order T>
T atomicMax(T* address, std::type_identity_t<T> value) {
  return std::exchange(*address, std::max(*address, value));
}
template <caffe::emulation::atomic_order T>
T atomicMin(T* address, std::type_identity_t<T> value) {
  return std::exchange(*address, std::min(*address, value));
}
template <caffe::emulation::atomic_integer T>
T atomicAnd(T* address, std::type_identity_t<T> value) {
  return std::exchange(*address, *address & value);
}
template <caffe::emulation::atomic_integer T>
T atomicOr(T* address, std::type_identity_t<T> value) {
  return std::exchange(*address, *address | value);
}
template <caffe::emulation::atomic_integer T>
T atomicCAS(T* address, std::type_identity_t<T> expected, std::type_identity_t<T> value) {
  return std::exchange(*address, *address == expected ? value : *address);
}
