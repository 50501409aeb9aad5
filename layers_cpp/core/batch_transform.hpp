// From stored images to the float32 batch a net reads: crop, mirror, subtract the mean, scale.
//
//   target(n, c, h, w') = (image_n(c, h_off + h, w_off + w) - mean) * scale,  w' = width - 1 - w if mirrored
//
// where mean is one value a channel (0 for none) or a mean image read at the same place as the image itself.
#pragma once

#include <cstddef>
#include <cstdint>

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

// Throws std::invalid_argument when the crop does not lie within the image or the channels differ.
void transform_image(const Image& image, const Crop& crop, const Mean& mean, float scale,
                     const Target& target);

}  // namespace caffe
