#include "data/image_header.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <stdexcept>
#include <string>

#include "data/png_file.hpp"

namespace caffe {
namespace {

constexpr std::array<std::uint8_t, 3> kJpegSignature = {0xff, 0xd8, 0xff};
constexpr std::array<std::uint8_t, 2> kJpegEnd = {0xff, 0xd9};

bool starts_with(Bytes file, Bytes prefix) {
  return file.size() >= prefix.size() && std::equal(prefix.begin(), prefix.end(), file.begin());
}

// Decoders fill what a cut file lacks with gray; an image that was not stored whole is refused instead.
// Searches from the end, where the mark is in a good file.
void check_complete(Bytes rest, Bytes end_mark) {
  if (std::find_end(rest.begin(), rest.end(), end_mark.begin(), end_mark.end()) == rest.end()) {
    throw std::invalid_argument("image file is cut short: its end mark is missing");
  }
}

// Steps through the segments of a JPEG file, as libjpeg does: were the two to disagree on where a marker is,
// the frame that is checked here would not be the one that is decoded. `next` returns a marker, with the
// position of what follows it.
class JpegMarkers {
 public:
  explicit JpegMarkers(Bytes file) : file_(file) {}

  // False at the end of the file. Bytes that belong to no segment (compressed pixels) are passed over.
  bool next() {
    while (position_ + 1 < file_.size()) {
      const void* found = std::memchr(file_.data() + position_, 0xff, file_.size() - 1 - position_);
      if (found == nullptr) return false;
      position_ = static_cast<std::size_t>(static_cast<const std::uint8_t*>(found) - file_.data()) + 1;
      marker_ = file_[position_];
      const bool none = marker_ == 0x00 || marker_ == 0xff;  // a byte of compressed pixels; filling
      const bool stands_alone = marker_ == kTemporary || (marker_ >= kRestart && marker_ < kRestart + 8);
      if (none || stands_alone) continue;
      ++position_;
      return true;
    }
    return false;
  }

  int marker() const { return marker_; }

  // From the current marker on.
  Bytes rest() const { return file_.subspan(std::min(position_ - 2, file_.size())); }

  std::uint32_t field(std::size_t offset, int bytes) const {
    return big_endian(file_, position_ + offset, bytes);
  }
  void skip_segment() { position_ += std::max<std::uint32_t>(field(0, 2), 2); }

 private:
  static constexpr int kTemporary = 0x01, kRestart = 0xd0;  // without a length

  Bytes file_;
  std::size_t position_ = 2;
  int marker_ = 0;
};

// Of 8 bits or 12, by Huffman's or the arithmetic code, in one scan a component or many.
bool starts_frame(int marker) {
  return (marker >= 0xc0 && marker <= 0xc2) || marker == 0xc9 || marker == 0xca;
}

bool is_progressive(int marker) { return marker == 0xc2 || marker == 0xca; }

// What may stand in a file beside frames, scans and the end: tables, DRI, application data, comments. The
// others are those of lossless and hierarchical files, or mean nothing.
bool is_harmless(int marker) {
  return marker == 0xc4 || marker == 0xcc || marker == 0xdb || marker == 0xdd ||
         (marker >= 0xe0 && marker <= 0xef) || marker == 0xfe;
}

[[noreturn]] void refuse_marker(int marker) {
  constexpr std::array<char, 17> kDigits = {"0123456789abcdef"};
  throw std::invalid_argument(std::string("JPEG file with a marker ff") + kDigits[marker >> 4] +
                              kDigits[marker & 15] + ", which ordinary JPEG files do not have; convert it");
}

void read_frame(const JpegMarkers& markers, const ImageLimits& limits, ImageHeader& header) {
  if (header.width != 0) throw std::invalid_argument("JPEG file of two frames");
  const std::uint32_t height = markers.field(3, 2), width = markers.field(5, 2),
                      channels = markers.field(7, 1);
  check_image_size(width, height, limits);
  if (channels != 1 && channels != 3 && channels != 4) {
    throw std::invalid_argument("JPEG file of " + std::to_string(channels) + " channels, not 1, 3 or 4");
  }
  header.bit_depth = static_cast<int>(markers.field(2, 1));
  header.height = static_cast<int>(height);
  header.width = static_cast<int>(width);
  header.channels = static_cast<int>(channels);
}

ImageHeader read_jpeg_header(Bytes file, const ImageLimits& limits) {
  constexpr int kStartOfScan = 0xda;
  constexpr int kEndOfImage = 0xd9;
  ImageHeader header{"jpeg", 0, 0, 0, 0, 0};
  bool progressive = false;
  JpegMarkers markers(file);
  while (markers.next() && markers.marker() != kEndOfImage) {
    if (starts_frame(markers.marker())) {
      read_frame(markers, limits, header);
      progressive = is_progressive(markers.marker());
    } else if (markers.marker() == kStartOfScan) {
      if (header.width == 0) break;
      if (++header.scans > limits.scans) {
        throw std::invalid_argument("JPEG file of more than " + std::to_string(limits.scans) + " scans");
      }
      const bool only_scan = !progressive && static_cast<int>(markers.field(2, 1)) == header.channels;
      if (only_scan) break;
    } else if (!is_harmless(markers.marker())) {
      refuse_marker(markers.marker());
    }
    markers.skip_segment();
  }
  if (header.scans == 0) throw std::invalid_argument("JPEG file without an image");
  check_complete(markers.rest(), kJpegEnd);
  return header;
}

}  // namespace

std::uint32_t big_endian(Bytes file, std::size_t at, int bytes) {
  if (file.size() < at + bytes) throw std::invalid_argument("image file ends within its header");
  std::uint32_t value = 0;
  for (int i = 0; i < bytes; ++i) value = value << 8 | file[at + i];
  return value;
}

void check_image_size(std::uint32_t width, std::uint32_t height, const ImageLimits& limits) {
  const std::string size =
      "image is " + std::to_string(width) + "x" + std::to_string(height) + " (width x height)";
  if (width == 0 || height == 0) throw std::invalid_argument(size + ": it has no pixels");
  const auto side = static_cast<std::uint32_t>(limits.side);
  if (width > side || height > side ||
      std::uint64_t{width} * height > static_cast<std::uint64_t>(limits.pixels)) {
    throw std::invalid_argument(size + ", over the limit of " + std::to_string(limits.side) + " a side and " +
                                std::to_string(limits.pixels) + " pixels");
  }
}

ImageHeader read_image_header(Bytes file, const ImageLimits& limits) {
  if (file.size() > limits.file_bytes) {
    throw std::invalid_argument("image file of " + std::to_string(file.size()) +
                                " bytes, over the limit of " + std::to_string(limits.file_bytes));
  }
  if (is_png(file)) return read_png_header(file, limits);
  if (starts_with(file, kJpegSignature)) return read_jpeg_header(file, limits);
  throw std::invalid_argument("image file is neither JPEG nor PNG; convert it to one of them");
}

}  // namespace caffe
