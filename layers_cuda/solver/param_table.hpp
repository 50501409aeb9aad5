// All learnable params of a solver in one table on the device, cut into chunks of which each block of a
// kernel takes one, 16 bytes of each array at a time.
#pragma once

#include <cstring>
#include <vector>

#include "core/launch.hpp"
#include "core/pack.hpp"
#include "core/storage.hpp"

namespace caffe::cuda {

constexpr int kChunkThreads = 256;
constexpr int kPacks = 4;  // of each array that a thread reads before it computes
constexpr int kPackSize = Pack<float>::count;
constexpr int kChunk = kChunkThreads * kPacks * kPackSize;

// The arrays of a param: (count). `second` is `first` for rules with one history.
struct ParamArrays {
  float *data, *diff, *first, *second;
  int64_t count;
  float lr_mult, decay_mult;
  int64_t packs;  // whether 16 bytes may be read at once

  bool operator==(const ParamArrays&) const = default;
};

struct Chunk {
  int32_t param, number;
};

// A pack of an array. kWhole: it is known to be all there.
template <bool kWhole>
__device__ Pack<float> load(const ParamArrays& param, const float* from, int64_t begin) {
  if constexpr (kWhole) {
    return load_pack<float>(from + begin);
  } else {
    Pack<float> some = {};
#pragma unroll
    for (int k = 0; k < kPackSize; ++k)
      if (begin + k < param.count) some.at[k] = from[begin + k];
    return some;
  }
}

template <bool kWhole>
__device__ void store(const ParamArrays& param, float* to, int64_t begin, const Pack<float>& values) {
  if constexpr (kWhole) {
    store_pack(to + begin, values);
  } else {
#pragma unroll
    for (int k = 0; k < kPackSize; ++k)
      if (begin + k < param.count) to[begin + k] = values.at[k];
  }
}

// Whether all packs of the chunk are whole and may be read at once.
__device__ inline bool is_whole(const ParamArrays& param, const Chunk& chunk) {
  return param.packs && (static_cast<int64_t>(chunk.number) + 1) * kChunk <= param.count;
}

// Where the thread's k-th pack of the block's chunk begins in the arrays.
__device__ inline int64_t pack_begin(const Chunk& chunk, int k) {
  return static_cast<int64_t>(chunk.number) * kChunk + (k * kChunkThreads + threadIdx.x) * kPackSize;
}

// Where all arrays are, and which block works on which part of them.
class ParamTable {
 public:
  // Writes the table anew if an array has moved. Not while work is recorded.
  void update(const std::vector<ParamArrays>& params) {
    if (params == params_) return;
    params_ = params;
    std::vector<Chunk> chunks;
    for (size_t i = 0; i < params.size(); ++i)
      for (int64_t begin = 0; begin < params[i].count; begin += kChunk)
        chunks.push_back({static_cast<int32_t>(i), static_cast<int32_t>(begin / kChunk)});
    chunks_ = static_cast<int64_t>(chunks.size());
    write(on_device_params_, params);
    write(on_device_chunks_, chunks);
  }

  const ParamArrays* params() { return static_cast<const ParamArrays*>(on_device_params_.data()); }
  const Chunk* chunks() { return static_cast<const Chunk*>(on_device_chunks_.data()); }
  int64_t size() const { return chunks_; }  // in chunks
  Grid grid() const { return {dim3(static_cast<unsigned>(chunks_)), dim3(kChunkThreads)}; }

 private:
  template <class T>
  static void write(Storage& to, const std::vector<T>& values) {
    to.reserve(values.size() * sizeof(T));
    if (!values.empty()) std::memcpy(to.host_data(), values.data(), values.size() * sizeof(T));
    to.host_wrote();
  }

  std::vector<ParamArrays> params_;
  int64_t chunks_ = 0;
  Storage on_device_params_{Device::cuda}, on_device_chunks_{Device::cuda};
};

}  // namespace caffe::cuda
