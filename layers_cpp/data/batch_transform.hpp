// From stored images to the float32 batch a net reads: crop, mirror, subtract the mean, scale.
//
//   target(n, c, h, w') = (image_n(c, h_off + h, w_off + w) - mean) * scale,  w' = width - 1 - w if mirrored
//
// where mean is one value a channel (0 for none) or a mean image read at the same place as the image itself.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "data/pixel_blocks.hpp"

namespace caffe {

// A view of an image's pixels; exactly one of `bytes` and `floats` is set.
struct Image {
  const std::uint8_t* bytes = nullptr;
  const float* floats = nullptr;
  int channels = 0;
  int height = 0;
  int width = 0;
  bool interleaved = false;  // (row, column, channel), as decoders write; else (channel, row, column)
};

// What is subtracted: `values`, one a channel, or instead a mean image of the size of the uncropped image,
// given in both orders of axes so that mean and image are walked with the same index.
struct Mean {
  const float* values = nullptr;       // may be null when there is a mean image
  const float* planar = nullptr;       // (channel, row, column)
  const float* interleaved = nullptr;  // (row, column, channel)
};

// Where one image of the batch goes: logical (C, H, W), any strides, counted in floats.
struct Target {
  float* data;
  int channels;
  int height;
  int width;
  std::ptrdiff_t channel_stride;
  std::ptrdiff_t row_stride;
  std::ptrdiff_t column_stride;
};

struct Crop {
  int h_off;
  int w_off;
  bool mirror;
};

// Transforms one image after the other, with memory that is used again.
class ImageTransform {
 public:
  ImageTransform(const Mean& mean, float scale) : mean_(mean), scale_(scale) {}

  // Throws std::invalid_argument when the crop does not lie within the image or the channels differ.
  void operator()(const Image& image, const Crop& crop, const Target& target);

 private:
  template <typename Pixel>
  void transform(const Image& image, const Pixel* pixels, const Crop& crop, const Target& target);
  void prepare_mean_rows(int channels, std::ptrdiff_t count, bool interleaved);

  Mean mean_;
  float scale_;
  std::vector<float> mean_rows_;  // `mean_.values` for each value of a block
  std::ptrdiff_t mean_count_ = 0;
  bool mean_interleaved_ = false;
  BlockMemory pixel_memory_;
  BlockMemory mean_memory_;
};

}  // namespace caffe
