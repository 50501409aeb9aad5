#include "core/batch_transform.hpp"

#include <stdexcept>
#include <string>

namespace caffe {
namespace {

// One row of the crop. The order of the axes and, for gray and colour, the number of channels are known when
// compiling, so that every stride of the inner loop is a constant and the loop becomes vector code.
struct RowSize {
  int channels;
  int width;
  std::ptrdiff_t source_plane;  // distance of the channels in a planar image
  std::ptrdiff_t target_plane;  // and in a planar target
  float scale;
};

template <typename Pixel, int kChannels, bool kFromInterleaved, bool kToInterleaved, bool kMeanImage,
          bool kMirror>
void transform_row(const Pixel* __restrict source, const float* __restrict mean, float* __restrict target,
                   const RowSize& row) {
  const int channels = kChannels > 0 ? kChannels : row.channels;
  const std::ptrdiff_t last = row.width - 1;
  auto move_value = [&](std::ptrdiff_t w, std::ptrdiff_t c) {
    const std::ptrdiff_t column = kMirror ? last - w : w;
    const std::ptrdiff_t from = kFromInterleaved ? column * channels + c : c * row.source_plane + column;
    const std::ptrdiff_t to = kToInterleaved ? w * channels + c : c * row.target_plane + w;
    const float subtracted = kMeanImage ? mean[from] : mean[c];
    target[to] = (static_cast<float>(source[from]) - subtracted) * row.scale;
  };
  if constexpr (!kFromInterleaved && !kToInterleaved) {
    for (int c = 0; c < channels; ++c) {
#pragma GCC ivdep
      for (std::ptrdiff_t w = 0; w < row.width; ++w) move_value(w, c);
    }
  } else {
#pragma GCC ivdep
    for (std::ptrdiff_t w = 0; w < row.width; ++w) {
      for (int c = 0; c < channels; ++c) move_value(w, c);
    }
  }
}

template <typename Pixel>
using RowFunction = void (*)(const Pixel*, const float*, float*, const RowSize&);

// Turns the run-time choices into template arguments, one at a time.
template <typename Pixel, int kChannels, bool... kChosen>
RowFunction<Pixel> choose() {
  return transform_row<Pixel, kChannels, kChosen...>;
}

template <typename Pixel, int kChannels, bool... kChosen, typename... Rest>
RowFunction<Pixel> choose(bool next, Rest... rest) {
  return next ? choose<Pixel, kChannels, kChosen..., true>(rest...)
              : choose<Pixel, kChannels, kChosen..., false>(rest...);
}

template <typename Pixel>
RowFunction<Pixel> choose_row(int channels, bool from_interleaved, bool to_interleaved, bool mean_image,
                              bool mirror) {
  // With one channel both orders are the same; the planar one has the simpler loop.
  if (channels == 1) return choose<Pixel, 1, false, false>(mean_image, mirror);
  if (channels == 3) return choose<Pixel, 3>(from_interleaved, to_interleaved, mean_image, mirror);
  return choose<Pixel, 0>(from_interleaved, to_interleaved, mean_image, mirror);
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

template <typename Pixel>
void transform_pixels(const Image& image, const Pixel* pixels, const Crop& crop, const Mean& mean,
                      float scale, const Target& target) {
  const bool to_planar = target.column_stride == 1;
  const bool to_interleaved =
      target.column_stride == target.channels && (target.channel_stride == 1 || target.channels == 1);
  if (!to_planar && !to_interleaved) {
    return transform_any_strides(image, pixels, crop, mean, scale, target);
  }
  const bool mean_image = mean.planar != nullptr;
  const auto transform =
      choose_row<Pixel>(image.channels, image.interleaved, !to_planar, mean_image, crop.mirror);
  const std::ptrdiff_t plane = std::ptrdiff_t{image.height} * image.width;
  const RowSize row{image.channels, target.width, plane, target.channel_stride, scale};
  const std::ptrdiff_t pixel_size = image.interleaved ? image.channels : 1;
  const float* mean_pixels = image.interleaved ? mean.interleaved : mean.planar;
  for (int h = 0; h < target.height; ++h) {
    const std::ptrdiff_t start = ((crop.h_off + h) * std::ptrdiff_t{image.width} + crop.w_off) * pixel_size;
    const float* subtracted = mean_image ? mean_pixels + start : mean.values;
    transform(pixels + start, subtracted, target.data + h * target.row_stride, row);
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

}  // namespace

void transform_image(const Image& image, const Crop& crop, const Mean& mean, float scale,
                     const Target& target) {
  check_crop(image, crop, target);
  if (image.bytes) {
    transform_pixels(image, image.bytes, crop, mean, scale, target);
  } else {
    transform_pixels(image, image.floats, crop, mean, scale, target);
  }
}

}  // namespace caffe
