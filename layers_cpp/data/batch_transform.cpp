#include "data/batch_transform.hpp"

#include <algorithm>
#include <bit>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "math/simd.hpp"

namespace caffe {
namespace {

// Values of a block, at most if that is several rows: with what is subtracted they fit into the first cache.
constexpr int kBlockValues = 4096;
// The results of a large image would push out of the cache what the decoder is about to write again.
constexpr std::ptrdiff_t kStreamedValues = 1 << 16;

Floats load_floats(const float* from) { return load(from, std::integral_constant<int, kLanes>{}); }
Floats load_floats(const std::uint8_t* from) {
  return __builtin_convertvector(load(from, std::integral_constant<int, kLanes>{}), Floats);
}

// Stores past the caches; `to` is aligned.
void stream(Floats values, float* to) {
#ifdef __AVX512F__
  _mm512_stream_ps(to, std::bit_cast<__m512>(values));
#else
  _mm256_stream_ps(to, std::bit_cast<__m256>(values));
#endif
}

template <bool kStream, typename Pixel>
void move_values(const Pixel* __restrict source, const float* __restrict mean, float* __restrict target,
                 std::ptrdiff_t count, float scale) {
  auto value = [&](std::ptrdiff_t i) { return (static_cast<float>(source[i]) - mean[i]) * scale; };
  std::ptrdiff_t i = 0;
  if constexpr (kStream) {
    auto aligned = [](const float* place) {
      return std::bit_cast<std::uintptr_t>(place) % sizeof(Floats) == 0;
    };
    for (; i < count && !aligned(target + i); ++i) target[i] = value(i);
  }
  for (; i + kLanes <= count; i += kLanes) {
    const Floats values = (load_floats(source + i) - load_floats(mean + i)) * broadcast(scale);
    if constexpr (kStream) {
      stream(values, target + i);
    } else {
      store(values, target + i, std::integral_constant<int, kLanes>{});
    }
  }
  for (; i < count; ++i) target[i] = value(i);
}

// For targets that are neither planar nor interleaved. Slow, and short enough to be the reference for the
// rest.
template <typename Pixel>
void transform_any_strides(const Image& image, const Pixel* pixels, const Crop& crop, const Mean& mean,
                           float scale, const Target& target) {
  for (int c = 0; c < target.channels; ++c) {
    for (int h = 0; h < target.height; ++h) {
      for (int w = 0; w < target.width; ++w) {
        const std::ptrdiff_t row = crop.h_off + h, column = crop.w_off + w;
        const std::ptrdiff_t planar = (c * std::ptrdiff_t{image.height} + row) * image.width + column;
        const std::ptrdiff_t interleaved = (row * image.width + column) * image.channels + c;
        const float subtracted = mean.planar ? mean.planar[planar] : mean.values[c];
        const int to = crop.mirror ? target.width - 1 - w : w;
        target.data[c * target.channel_stride + h * target.row_stride + to * target.column_stride] =
            (static_cast<float>(pixels[image.interleaved ? interleaved : planar]) - subtracted) * scale;
      }
    }
  }
}

void check_crop(const Image& image, const Crop& crop, const Target& target) {
  if (image.channels != target.channels) {
    throw std::invalid_argument("image has " + std::to_string(image.channels) + " channels, the batch has " +
                                std::to_string(target.channels));
  }
  const bool inside = crop.h_off >= 0 && crop.w_off >= 0 && crop.h_off <= image.height - target.height &&
                      crop.w_off <= image.width - target.width;
  if (!inside) {
    throw std::invalid_argument("image is " + std::to_string(image.height) + "x" +
                                std::to_string(image.width) + " (height x width), too small for " +
                                std::to_string(target.height) + "x" + std::to_string(target.width) +
                                " at row " + std::to_string(crop.h_off) + ", column " +
                                std::to_string(crop.w_off));
  }
}

int rows_at_once(const Target& target) {
  const int row_values = target.width * target.channels;
  const bool one_run = target.row_stride == target.width * target.column_stride;
  return one_run ? std::clamp(kBlockValues / row_values, 1, target.height) : 1;
}

}  // namespace

// In the target's order of axes, for a block of so many pixels.
void ImageTransform::prepare_mean_rows(int channels, std::ptrdiff_t count, bool interleaved) {
  if (mean_count_ == count && mean_interleaved_ == interleaved) return;
  mean_count_ = count;
  mean_interleaved_ = interleaved;
  mean_rows_.clear();
  if (interleaved) {
    for (std::ptrdiff_t i = 0; i < count; ++i) {
      mean_rows_.insert(mean_rows_.end(), mean_.values, mean_.values + channels);
    }
  } else {
    for (int c = 0; c < channels; ++c) {
      mean_rows_.insert(mean_rows_.end(), static_cast<std::size_t>(count), mean_.values[c]);
    }
  }
}

template <typename Pixel>
void ImageTransform::transform(const Image& image, const Pixel* pixels, const Crop& crop,
                               const Target& target) {
  const bool to_planar = target.column_stride == 1;
  const bool to_interleaved =
      target.column_stride == target.channels && (target.channel_stride == 1 || target.channels == 1);
  if (!to_planar && !to_interleaved) {
    return transform_any_strides(image, pixels, crop, mean_, scale_, target);
  }
  BlockShape shape{image.channels, image.height, image.width,       crop.h_off, crop.w_off,
                   target.width,   crop.mirror,  image.interleaved, !to_planar};
  PixelBlocks<Pixel> source(pixels, shape, pixel_memory_);
  std::optional<PixelBlocks<float>> subtracted;
  const int rows = rows_at_once(target);
  const std::ptrdiff_t most = std::ptrdiff_t{rows} * target.width;
  if (const float* const mean_image = to_planar ? mean_.planar : mean_.interleaved) {
    shape.from_interleaved = shape.to_interleaved;
    subtracted.emplace(mean_image, shape, mean_memory_);
  } else {
    prepare_mean_rows(target.channels, most, !to_planar);
  }
  const bool large = std::ptrdiff_t{target.height} * target.width * target.channels >= kStreamedValues;
  const auto move = large ? move_values<true, Pixel> : move_values<false, Pixel>;
  const int runs = to_planar ? target.channels : 1;
  for (int h = 0; h < target.height; h += rows) {
    const int height = std::min(rows, target.height - h);
    const Block<Pixel> from = source.rows(h, height);
    const Block<float> mean =
        subtracted ? subtracted->rows(h, height) : Block<float>{mean_rows_.data(), most};
    const std::ptrdiff_t values = std::ptrdiff_t{height} * target.width * target.channels / runs;
    for (int run = 0; run < runs; ++run) {
      move(from.data + run * from.plane, mean.data + run * mean.plane,
           target.data + run * target.channel_stride + h * target.row_stride, values, scale_);
    }
  }
  if (large) _mm_sfence();  // streamed values are seen by other threads from here on
}

void ImageTransform::operator()(const Image& image, const Crop& crop, const Target& target) {
  check_crop(image, crop, target);
  if (image.bytes) {
    transform(image, image.bytes, crop, target);
  } else {
    transform(image, image.floats, crop, target);
  }
}

}  // namespace caffe
