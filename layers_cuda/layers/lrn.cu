// LRN on the GPU, of x (N, H, W, C); formulas as in layers_cpp/layers/lrn.cpp.
//
// The window that most nets use, 5 channels, has kernels of its own: a thread has 16 bytes of channels, and
// their neighbours, which lie in the caches, in registers. Forward reads x and writes y, backward reads x and
// dy and writes dx, each once from memory. All other windows add up what they cover from the caches; backward
// in two steps, with two float arrays between them.
#include "core/cuda_layer.hpp"
#include "core/error.hpp"
#include "core/launch.hpp"
#include "core/pack.hpp"
#include "core/scratch.hpp"

namespace caffe::cuda {
namespace {

constexpr int kThreads = 256;

struct Normalization {
  int reach;          // (n - 1) / 2
  float alpha, beta;  // alpha already divided by m
  float k;

  __device__ float scale(float sum) const { return k + alpha * sum; }
  __device__ float weight() const { return 2.0f * alpha * beta; }
};

// s^(-beta) and 1 / s, in general and for the beta that most nets use, which needs no logarithm.
struct Powers {
  float factor, inverse;
};
struct AnyPower {
  float beta;
  __device__ Powers operator()(float s) const { return {powf(s, -beta), 1.0f / s}; }
};
struct ThreeQuarters {
  __device__ Powers operator()(float s) const {
    const float root = rsqrtf(s);
    return {root * sqrtf(root), root * root};
  }
};

template <class Body>
void with_power(float beta, Body&& body) {
  if (beta == 0.75f)
    body(ThreeQuarters{});
  else
    body(AnyPower{beta});
}

// Across 5 channels.

constexpr int kReach = 2;

// At any address: blobs that lie in somebody else's memory are rare, but must not need memory of their own.
template <bool kAligned, class T>
__device__ inline Pack<T> load_values(const T* from) {
  if constexpr (kAligned) {
    return load_pack(from);
  } else {
    Pack<T> values;
    for (int i = 0; i < Pack<T>::count; ++i) values.at[i] = from[i];
    return values;
  }
}
template <bool kAligned, class T>
__device__ inline void store_values(T* to, const Pack<T>& values) {
  if constexpr (kAligned)
    store_pack(to, values);
  else
    for (int i = 0; i < Pack<T>::count; ++i) to[i] = values.at[i];
}

// A pack of channels between its neighbours; 0 beyond the first and the last channel.
template <bool kAligned, int kCount>
struct Neighbourhood {
  template <class T>
  __device__ Neighbourhood(const T* from, int pack, int width)
      : first(pack % width == 0), last(pack % width == width - 1) {
    const T* here = from + static_cast<int64_t>(pack) * kCount;
    put(0, first, here - kCount);
    put(1, false, here);
    put(2, last, here + kCount);
  }

  template <class T>
  __device__ void put(int place, bool outside, const T* from) {
    Pack<T, kCount> values{};
    if (!outside) values = load_values<kAligned>(from);
#pragma unroll
    for (int i = 0; i < kCount; ++i) at[place * kCount + i] = static_cast<float>(values.at[i]);
  }
  __device__ bool outside(int i) const { return (first && i < kCount) || (last && i >= 2 * kCount); }

  float at[3 * kCount];
  bool first, last;
};

// The sum of the squares of the 5 values around place i.
template <class Values>
__device__ inline float square_sum(const Values& x, int i) {
  float sum = 0;
#pragma unroll
  for (int other = i - kReach; other <= i + kReach; ++other) sum += x.at[other] * x.at[other];
  return sum;
}

template <bool kAligned, class T, class Power>
__global__ void lrn_forward_5_channels_kernel(Normalization norm, Power power, int packs, int width,
                                              const T* x, T* y) {
  // x, y: (N, H, W, width packs)
  constexpr int kCount = Pack<T>::count;
  const int pack = blockIdx.x * blockDim.x + threadIdx.x;
  if (pack >= packs) return;
  const Neighbourhood<kAligned, kCount> from(x, pack, width);
  Pack<T> result;
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    const Powers powers = power(norm.scale(square_sum(from, kCount + i)));
    result.at[i] = from.at[kCount + i] * powers.factor;
  }
  store_values<kAligned>(y + static_cast<int64_t>(pack) * kCount, result);
}

template <bool kAligned, class T, class Power>
__global__ void lrn_backward_5_channels_kernel(Normalization norm, Power power, int packs, int width,
                                               const T* x, const T* dy, T* dx) {
  // x, dy, dx: (N, H, W, width packs)
  constexpr int kCount = Pack<T>::count;
  const int pack = blockIdx.x * blockDim.x + threadIdx.x;
  if (pack >= packs) return;
  const Neighbourhood<kAligned, kCount> from(x, pack, width), gradient(dy, pack, width);
  float direct[kCount], ratios[kCount + 2 * kReach];  // dy s^(-beta), dy y / s
#pragma unroll
  for (int r = 0; r < kCount + 2 * kReach; ++r) {
    const int i = kCount - kReach + r;
    const Powers powers = power(norm.scale(square_sum(from, i)));
    const float product = gradient.at[i] * powers.factor;
    if (r >= kReach && r < kCount + kReach) direct[r - kReach] = product;
    ratios[r] = from.outside(i) ? 0.0f : product * from.at[i] * powers.inverse;
  }
  Pack<T> result;
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    float sum = 0;
#pragma unroll
    for (int r = i; r <= i + 2 * kReach; ++r) sum += ratios[r];
    result.at[i] = direct[i] - norm.weight() * from.at[kCount + i] * sum;
  }
  store_values<kAligned>(dx + static_cast<int64_t>(pack) * kCount, result);
}

// Any window.

struct Map {
  int channels, height, width;
  bool within;  // the window lies within a channel, else across channels
};

// sums[i] = value(j)[i] added up over the places j of the window around `at`, where kCount channels lie, or
// one if the window lies across channels.
template <int kCount, class Value>
__device__ void window_sums(const Map& map, int reach, int64_t at, const Value& value,
                            float (&sums)[kCount]) {
  const auto add = [&](int64_t j) {
    const Pack<float, kCount> values = value(j);
#pragma unroll
    for (int i = 0; i < kCount; ++i) sums[i] += values.at[i];
  };
  const int c = static_cast<int>(at % map.channels);
  if (!map.within) {
    for (int other = max(0, c - reach); other <= min(map.channels - 1, c + reach); ++other)
      add(at - c + other);
    return;
  }
  const int64_t place = at / map.channels;
  const int w = static_cast<int>(place % map.width), h = static_cast<int>(place / map.width % map.height);
  for (int row = max(0, h - reach); row <= min(map.height - 1, h + reach); ++row)
    for (int column = max(0, w - reach); column <= min(map.width - 1, w + reach); ++column)
      add(at + (int64_t{row - h} * map.width + (column - w)) * map.channels);
}

template <class T, int kCount>
struct Square {
  __device__ Pack<float, kCount> operator()(int64_t j) const {
    const auto values = load_pack<T, kCount>(x + j);
    Pack<float, kCount> squares;
#pragma unroll
    for (int i = 0; i < kCount; ++i)
      squares.at[i] = static_cast<float>(values.at[i]) * static_cast<float>(values.at[i]);
    return squares;
  }
  const T* x;
};

template <int kCount>
struct Ratio {
  __device__ Pack<float, kCount> operator()(int64_t j) const { return load_pack<float, kCount>(ratios + j); }
  const float* ratios;
};

template <int kCount, class T, class Power>
__global__ void lrn_forward_kernel(Map map, Normalization norm, Power power, int packs, const T* x, T* y) {
  // x, y: (N, H, W, C), packs in all
  const int pack = blockIdx.x * blockDim.x + threadIdx.x;
  if (pack >= packs) return;
  const int64_t at = static_cast<int64_t>(pack) * kCount;
  float sums[kCount] = {};
  window_sums(map, norm.reach, at, Square<T, kCount>{x}, sums);
  auto values = load_pack<T, kCount>(x + at);
#pragma unroll
  for (int i = 0; i < kCount; ++i)
    values.at[i] = static_cast<float>(values.at[i]) * power(norm.scale(sums[i])).factor;
  store_pack(y + at, values);
}

template <int kCount, class T, class Power>
__global__ void lrn_ratios_kernel(Map map, Normalization norm, Power power, int packs, const T* x,
                                  const T* dy, float* factors, float* ratios) {
  // x, dy, factors = s^(-beta), ratios = dy y / s: (N, H, W, C), packs in all
  const int pack = blockIdx.x * blockDim.x + threadIdx.x;
  if (pack >= packs) return;
  const int64_t at = static_cast<int64_t>(pack) * kCount;
  float sums[kCount] = {};
  window_sums(map, norm.reach, at, Square<T, kCount>{x}, sums);
  const auto values = load_pack<T, kCount>(x + at), gradients = load_pack<T, kCount>(dy + at);
  Pack<float, kCount> factor, ratio;
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    const Powers powers = power(norm.scale(sums[i]));
    const float product = static_cast<float>(gradients.at[i]) * static_cast<float>(values.at[i]);
    factor.at[i] = powers.factor;
    ratio.at[i] = product * powers.factor * powers.inverse;
  }
  store_pack(factors + at, factor);
  store_pack(ratios + at, ratio);
}

template <int kCount, class T>
__global__ void lrn_backward_kernel(Map map, Normalization norm, int packs, const T* x, const T* dy,
                                    const float* factors, const float* ratios, T* dx) {
  // x, dy, factors, ratios, dx: (N, H, W, C), packs in all
  const int pack = blockIdx.x * blockDim.x + threadIdx.x;
  if (pack >= packs) return;
  const int64_t at = static_cast<int64_t>(pack) * kCount;
  float sums[kCount] = {};
  window_sums(map, norm.reach, at, Ratio<kCount>{ratios}, sums);
  const auto values = load_pack<T, kCount>(x + at), gradients = load_pack<T, kCount>(dy + at);
  const auto factor = load_pack<float, kCount>(factors + at);
  Pack<T, kCount> result;
#pragma unroll
  for (int i = 0; i < kCount; ++i)
    result.at[i] = static_cast<float>(gradients.at[i]) * factor.at[i] -
                   norm.weight() * static_cast<float>(values.at[i]) * sums[i];
  store_pack(dx + at, result);
}

class LRNLayer : public CudaLayer {
 public:
  explicit LRNLayer(const Args& args) : CudaLayer("LRN", args), within_(args.flag("within_channel")) {
    const int64_t size = args.integer("local_size");
    const auto places = static_cast<float>(within_ ? size * size : size);
    norm_ = {static_cast<int>((size - 1) / 2), args.real("alpha") / places, args.real("beta"),
             within_ ? 1.0f : args.real("k")};
  }

  void reshape(const Blobs& bottom, const Blobs&) override {
    const Blob& x = *bottom[0];
    count_ = x.count();
    dtype_ = x.dtype();
    map_ = {static_cast<int>(x.dim(1)), static_cast<int>(x.dim(2)), static_cast<int>(x.dim(3)), within_};
  }

  void forward(const Context& context, const Blobs& bottom, const Blobs& top) override {
    with_types(*top[0], [&](auto zero, auto power) {
      using T = decltype(zero);
      const T* x = bottom[0]->data<T>();
      T* y = top[0]->data<T>();
      if (is_5_channels())
        packable(x, y) ? forward_5_channels<true>(context, power, x, y)
                       : forward_5_channels<false>(context, power, x, y);
      else
        in_packs(x, y) ? forward_any<Pack<T>::count>(context, power, x, y)
                       : forward_any<1>(context, power, x, y);
    });
  }

  void backward(const Context& context, const Blobs& top, const std::vector<bool>& propagate_down,
                const Blobs& bottom) override {
    if (!propagate_down[0]) return;
    with_types(*top[0], [&](auto zero, auto power) {
      using T = decltype(zero);
      const T *x = bottom[0]->data<T>(), *dy = top[0]->diff<T>();
      T* dx = bottom[0]->diff<T>();
      if (is_5_channels())
        packable(x, dy, dx) ? backward_5_channels<true>(context, power, x, dy, dx)
                            : backward_5_channels<false>(context, power, x, dy, dx);
      else
        in_packs(x, dy, dx) ? backward_any<Pack<T>::count>(context, power, x, dy, dx)
                            : backward_any<1>(context, power, x, dy, dx);
    });
  }

  size_t scratch_bytes() const override {
    return runs_backward && !is_5_channels() ? 2 * scratch_size(map_bytes()) : 0;
  }

 private:
  // Calls body(T{}, power).
  template <class Body>
  void with_types(const Blob& blob, Body&& body) const {
    dispatch(blob.dtype(),
             [&](auto zero) { with_power(norm_.beta, [&](auto power) { body(zero, power); }); });
  }

  size_t map_bytes() const { return static_cast<size_t>(count_) * sizeof(float); }
  bool whole_packs() const { return map_.channels % static_cast<int>(16 / size_of(dtype_)) == 0; }
  bool is_5_channels() const { return !within_ && norm_.reach == kReach && whole_packs(); }

  // Other windows across channels go over single values.
  template <class T, class... More>
  bool in_packs(const T* first, const More*... more) const {
    return within_ && whole_packs() && packable(first, more...);
  }

  template <bool kAligned, class T, class Power>
  void forward_5_channels(const Context& context, Power power, const T* x, T* y) {
    const int64_t packs = count_ / Pack<T>::count;
    launch(context, "lrn_forward", grid_for(packs, kThreads),
           lrn_forward_5_channels_kernel<kAligned, T, Power>, norm_, power, packs,
           map_.channels / Pack<T>::count, x, y);
  }

  template <bool kAligned, class T, class Power>
  void backward_5_channels(const Context& context, Power power, const T* x, const T* dy, T* dx) {
    const int64_t packs = count_ / Pack<T>::count;
    launch(context, "lrn_backward", grid_for(packs, kThreads),
           lrn_backward_5_channels_kernel<kAligned, T, Power>, norm_, power, packs,
           map_.channels / Pack<T>::count, x, dy, dx);
  }

  template <int kCount, class T, class Power>
  void forward_any(const Context& context, Power power, const T* x, T* y) {
    const int64_t packs = count_ / kCount;
    launch(context, "lrn_forward", grid_for(packs, kThreads), lrn_forward_kernel<kCount, T, Power>, map_,
           norm_, power, packs, x, y);
  }

  template <int kCount, class T, class Power>
  void backward_any(const Context& context, Power power, const T* x, const T* dy, T* dx) {
    Scratch scratch(context, 0);
    float *factors = scratch.take<float>(map_bytes()), *ratios = scratch.take<float>(map_bytes());
    const int64_t packs = count_ / kCount;
    launch(context, "lrn_ratios", grid_for(packs, kThreads), lrn_ratios_kernel<kCount, T, Power>, map_, norm_,
           power, packs, x, dy, factors, ratios);
    launch(context, "lrn_backward", grid_for(packs, kThreads), lrn_backward_kernel<kCount, T>, map_, norm_,
           packs, x, dy, factors, ratios, dx);
  }

  const bool within_;
  Normalization norm_{};
  Map map_{};
  int64_t count_ = 0;
  DType dtype_ = DType::float32;
};

REGISTER_LAYER("LRN", cuda, LRNLayer);

}  // namespace
}  // namespace caffe::cuda
