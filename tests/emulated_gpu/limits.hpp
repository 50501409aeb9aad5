// What a launch may ask for at most.
#pragma once

#include <cstddef>

namespace caffe::emulation {

constexpr int kThreads = 1024, kThreadsZ = 64;
constexpr int kBlocksX = 2147483647, kBlocksYZ = 65535;
constexpr size_t kSharedBytes = 48 << 10;  // without being asked for by cudaFuncSetAttribute
constexpr size_t kSharedBytesOptIn = 227 << 10;

}  // namespace caffe::emulation
