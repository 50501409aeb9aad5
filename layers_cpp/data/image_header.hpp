// What a JPEG or PNG file says about itself before any pixel is decoded, so that an image which would take
// gigabytes is refused for the price of reading its header.
#pragma once

#include <cstddef>

#include "data/datum.hpp"

namespace caffe {

struct ImageHeader {
  const char* format;  // "jpeg" or "png"
  int width;
  int height;
  int channels;   // as stored; a palette counts as 3
  int bit_depth;  // per channel, as stored
  int scans;      // JPEG: number of passes over the image; 1 for PNG
};

struct ImageLimits {
  std::size_t file_bytes = std::size_t{64} << 20;
  long pixels = 64L << 20;
  int side = 32768;
  int scans = 100;  // each scan of a progressive JPEG is a pass over the whole image
};

// Throws std::invalid_argument for an image without pixels or over a limit.
void check_image_size(std::uint32_t width, std::uint32_t height, const ImageLimits& limits = {});

// A number of so many bytes; throws std::invalid_argument where the file ends before it does.
std::uint32_t big_endian(Bytes file, std::size_t at, int bytes);

// Throws std::invalid_argument for other formats, damaged headers and images over a limit.
ImageHeader read_image_header(Bytes file, const ImageLimits& limits = {});

}  // namespace caffe
