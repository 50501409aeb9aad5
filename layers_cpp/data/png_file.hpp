// PNG files: {length; name; data; CRC-32} one chunk after the other, behind a signature.
#pragma once

#include <cstdint>
#include <vector>

#include "data/image_header.hpp"

namespace caffe {

bool is_png(Bytes file);

// Throws std::invalid_argument for a damaged header, an image over a limit, and a file whose chunks are not
// whole.
ImageHeader read_png_header(Bytes file, const ImageLimits& limits);

// The same image with nothing but the chunks that make its pixels, and the EXIF chunk, which may turn it. The
// others (colour profiles, texts, further frames) are what decoders take memory for without being asked.
// Throws as read_png_header does.
std::vector<std::uint8_t> essential_png(Bytes file, const ImageLimits& limits = {});

}  // namespace caffe
