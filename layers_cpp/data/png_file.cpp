#include "data/png_file.hpp"

#include <algorithm>
#include <array>
#include <stdexcept>
#include <string>
#include <string_view>

namespace caffe {
namespace {

constexpr std::array<std::uint8_t, 8> kSignature = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
constexpr std::size_t kFraming = 12;  // length, name and checksum of a chunk
constexpr std::size_t kHeaderBytes = 13;
constexpr std::size_t kMostExif = 65535;  // as in a JPEG file

// Steps through the chunks.
class Chunks {
 public:
  explicit Chunks(Bytes file) : file_(file), next_(kSignature.size()) {}

  // False behind the last chunk, IEND. Throws where the file ends before it, or within a chunk.
  bool next() {
    if (name() == "IEND") return false;
    const std::size_t left = file_.size() - next_;
    if (left < kFraming || big_endian(file_, next_, 4) > left - kFraming) {
      throw std::invalid_argument(
          "image file is cut short: a chunk of the PNG file is longer than what is there");
    }
    chunk_ = file_.subspan(next_, kFraming + big_endian(file_, next_, 4));
    next_ += chunk_.size();
    return true;
  }

  Bytes chunk() const { return chunk_; }  // with its framing
  std::size_t data_bytes() const { return chunk_.size() - kFraming; }
  std::string_view name() const {
    return chunk_.empty() ? std::string_view()
                          : std::string_view(reinterpret_cast<const char*>(&chunk_[4]), 4);
  }
  // Without knowing it, nobody can tell what the image looks like.
  bool critical() const { return (chunk_[4] & 0x20) == 0; }

 private:
  Bytes file_, chunk_;
  std::size_t next_;
};

bool makes_pixels(const Chunks& at) {
  const std::string_view name = at.name();
  return name == "IHDR" || name == "PLTE" || name == "tRNS" || name == "IDAT" || name == "IEND";
}

// Whether the decoder should see a chunk. Throws where it would not know what to do, or where there are two
// headers.
bool essential(const Chunks& at, std::size_t number) {
  if ((at.name() == "IHDR") != (number == 0))
    throw std::invalid_argument("PNG file whose header is not its first chunk");
  if (makes_pixels(at)) return true;
  if (at.critical()) throw std::invalid_argument("PNG file with an unknown chunk " + std::string(at.name()));
  return at.name() == "eXIf" && at.data_bytes() <= kMostExif;
}

}  // namespace

bool is_png(Bytes file) {
  return file.size() >= kSignature.size() && std::equal(kSignature.begin(), kSignature.end(), file.begin());
}

ImageHeader read_png_header(Bytes file, const ImageLimits& limits) {
  const std::size_t header = kSignature.size() + 8;  // after the chunk's length and name
  const std::uint32_t width = big_endian(file, header, 4);
  const std::uint32_t height = big_endian(file, header + 4, 4);
  const int bit_depth = static_cast<int>(big_endian(file, header + 8, 1));
  const std::uint32_t color_type = big_endian(file, header + 9, 1);
  Chunks at(file);
  if (!at.next() || at.name() != "IHDR" || at.data_bytes() != kHeaderBytes) {
    throw std::invalid_argument("PNG file without a header");
  }
  check_image_size(width, height, limits);
  constexpr std::array<int, 7> kChannels = {1, 0, 3, 3, 2, 0, 4};  // by colour type
  if (color_type >= kChannels.size() || kChannels[color_type] == 0) {
    throw std::invalid_argument("PNG file of unknown colour type " + std::to_string(color_type));
  }
  for (std::size_t number = 1; at.next(); ++number) essential(at, number);
  return {"png", static_cast<int>(width), static_cast<int>(height), kChannels[color_type], bit_depth, 1};
}

std::vector<std::uint8_t> essential_png(Bytes file, const ImageLimits& limits) {
  read_png_header(file, limits);
  std::vector<std::uint8_t> result(kSignature.begin(), kSignature.end());
  result.reserve(file.size());
  Chunks at(file);
  for (std::size_t number = 0; at.next(); ++number)
    if (essential(at, number)) result.insert(result.end(), at.chunk().begin(), at.chunk().end());
  return result;
}

}  // namespace caffe
