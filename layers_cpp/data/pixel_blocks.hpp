// Pixels of a crop in the order of axes a batch wants, a block of rows at a time, so that whoever works on
// them walks over one run of memory. Pixels are bytes or floats here, and only moved.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>
#include <vector>

namespace caffe {

// Copies rows of pixels from the last one to the first, as many as fill a vector at a time.
class PixelReverser {
 public:
  explicit PixelReverser(int pixel_bytes) : pixel_bytes_(pixel_bytes) {
    for (int i = 0; i < group_ * pixel_bytes; ++i) {
      const int pixel = i / pixel_bytes, byte = i % pixel_bytes;
      order_[spare_ + i] = static_cast<std::uint8_t>((group_ - 1 - pixel) * pixel_bytes + byte);
    }
  }

  // The bytes that are spare in a vector go where the next pixels will be, never before `to`.
  void copy(const std::uint8_t* __restrict from, std::uint8_t* __restrict to, std::ptrdiff_t count) const {
    const std::ptrdiff_t row_bytes = count * pixel_bytes_;
    std::ptrdiff_t done = 0;
    if (group_ > 0) {
      for (; done + kVectorBytes <= row_bytes; done += group_ * pixel_bytes_) {
        reverse(from + done, to + row_bytes - done - kVectorBytes);
      }
      if (spare_ == 0 && done > 0) return reverse(from + row_bytes - kVectorBytes, to);  // some once more
    }
    for (; done < row_bytes; done += pixel_bytes_) {
      std::memcpy(to + row_bytes - done - pixel_bytes_, from + done, static_cast<std::size_t>(pixel_bytes_));
    }
  }

 private:
  static constexpr int kVectorBytes = 16;
  using Vector [[gnu::vector_size(kVectorBytes)]] = std::uint8_t;

  void reverse(const std::uint8_t* from, std::uint8_t* to) const {
    Vector pixels;
    std::memcpy(&pixels, from, sizeof pixels);
    pixels = __builtin_shuffle(pixels, order_);
    std::memcpy(to, &pixels, sizeof pixels);
  }

  int pixel_bytes_;
  int group_ = kVectorBytes / pixel_bytes_;  // pixels in a vector
  int spare_ = kVectorBytes - group_ * pixel_bytes_;
  Vector order_{};
};

// Planes of `count` values to pixels or back. For colour the number of channels is known when compiling, so
// that the strides are constants.
template <bool kToInterleaved, int kChannels, typename Value>
void reorder(const Value* __restrict from, std::ptrdiff_t plane, Value* __restrict to, std::ptrdiff_t count,
             int any_channels) {
  const int channels = kChannels > 0 ? kChannels : any_channels;
#pragma GCC ivdep
  for (std::ptrdiff_t i = 0; i < count; ++i) {
    for (std::ptrdiff_t c = 0; c < channels; ++c) {
      if (kToInterleaved) {
        to[i * channels + c] = from[c * plane + i];
      } else {
        to[c * plane + i] = from[i * channels + c];
      }
    }
  }
}

// Three planes of bytes to pixels, 16 pixels at a time: byte j of the result is channel j % 3 of pixel j / 3.
class ColorInterleaver {
 public:
  static constexpr std::ptrdiff_t kPixels = 16;  // at least

  static void move(const std::uint8_t* __restrict from, std::ptrdiff_t plane, std::uint8_t* __restrict to,
                   std::ptrdiff_t count) {
    for (std::ptrdiff_t pixel = 0; pixel + kPixels <= count; pixel += kPixels) {
      move_vectors(from + pixel, plane, to + 3 * pixel);
    }
    const std::ptrdiff_t last = count - kPixels;  // the rest, and some once more
    if (count % kPixels != 0) move_vectors(from + last, plane, to + 3 * last);
  }

 private:
  using Vector [[gnu::vector_size(kPixels)]] = std::uint8_t;
  using Bytes = std::make_integer_sequence<int, kPixels>;

  static void move_vectors(const std::uint8_t* from, std::ptrdiff_t plane, std::uint8_t* to) {
    Vector planes[3];
    for (int c = 0; c < 3; ++c) std::memcpy(&planes[c], from + c * plane, sizeof planes[c]);
    merge<0>(planes, to, Bytes{});
    merge<1>(planes, to, Bytes{});
    merge<2>(planes, to, Bytes{});
  }

  template <int kVector, int... kByte>
  static void merge(const Vector* planes, std::uint8_t* to, std::integer_sequence<int, kByte...>) {
    constexpr int kFirst = kVector * kPixels;
    const Vector two = __builtin_shuffle(planes[0], planes[1], Vector{first_two(kFirst + kByte)...});
    const Vector all = __builtin_shuffle(two, planes[2], Vector{with_third(kByte, kFirst + kByte)...});
    std::memcpy(to + kFirst, &all, sizeof all);
  }
  static constexpr std::uint8_t first_two(int j) {
    return static_cast<std::uint8_t>(j / 3 + (j % 3 == 1 ? kPixels : 0));
  }
  static constexpr std::uint8_t with_third(int byte, int j) {
    return static_cast<std::uint8_t>(j % 3 == 2 ? kPixels + j / 3 : byte);
  }
};

// Where the crop lies in the image, and how both are laid out.
struct BlockShape {
  int channels;
  int image_height;
  int image_width;
  int h_off;
  int w_off;
  int width;  // of the crop
  bool mirror;
  bool from_interleaved;
  bool to_interleaved;
};

template <typename Value>
struct Block {
  const Value* data;
  std::ptrdiff_t plane;  // distance of the channels if they are not interleaved
};

// Memory to be used again for the next image.
struct BlockMemory {
  std::vector<std::uint8_t> cut;
  std::vector<std::uint8_t> reordered;
};

template <typename Value>
class PixelBlocks {
 public:
  PixelBlocks(const Value* image, const BlockShape& shape, BlockMemory& memory)
      : shape_(shape),
        reorders_(shape.channels > 1 && shape.from_interleaved != shape.to_interleaved),
        planes_(shape.from_interleaved ? 1 : shape.channels),
        pixel_(shape.from_interleaved ? shape.channels : 1),
        image_plane_(std::ptrdiff_t{shape.image_height} * shape.image_width * pixel_),
        first_(image + (std::ptrdiff_t{shape.h_off} * shape.image_width + shape.w_off) * pixel_),
        reverser_(pixel_ * static_cast<int>(sizeof(Value))),
        memory_(memory) {}

  // Rows `row` and following of the crop. Valid until the next call.
  Block<Value> rows(int row, int count) {
    Block<Value> block{first_ + std::ptrdiff_t{row} * shape_.image_width * pixel_, image_plane_};
    const bool one_run = count == 1 || shape_.width == shape_.image_width;
    if (shape_.mirror || !one_run) block = cut(block, count);
    return reorders_ ? reordered(block, std::ptrdiff_t{count} * shape_.width) : block;
  }

 private:
  static Value* room(std::vector<std::uint8_t>& memory, std::ptrdiff_t values) {
    const auto bytes = static_cast<std::size_t>(values) * sizeof(Value);
    if (memory.size() < bytes) memory.resize(bytes);
    return reinterpret_cast<Value*>(memory.data());
  }

  Block<Value> cut(const Block<Value>& from, int rows) {
    const std::ptrdiff_t row_values = std::ptrdiff_t{shape_.width} * pixel_, plane = rows * row_values;
    Value* const to = room(memory_.cut, planes_ * plane);
    for (int i = 0; i < planes_; ++i) {
      for (int row = 0; row < rows; ++row) {
        copy_row(from.data + i * from.plane + std::ptrdiff_t{row} * shape_.image_width * pixel_,
                 to + i * plane + row * row_values);
      }
    }
    return {to, plane};
  }

  void copy_row(const Value* from, Value* to) const {
    if (shape_.mirror) {
      reverser_.copy(reinterpret_cast<const std::uint8_t*>(from), reinterpret_cast<std::uint8_t*>(to),
                     shape_.width);
    } else {
      std::memcpy(to, from, static_cast<std::size_t>(shape_.width) * pixel_ * sizeof(Value));
    }
  }

  Block<Value> reordered(const Block<Value>& from, std::ptrdiff_t count) {
    Value* const to = room(memory_.reordered, count * shape_.channels);
    const bool color = shape_.channels == 3;
    if (!shape_.to_interleaved) {
      const auto take_apart = color ? reorder<false, 3, Value> : reorder<false, 0, Value>;
      take_apart(from.data, count, to, count, shape_.channels);
    } else if constexpr (std::is_same_v<Value, std::uint8_t>) {
      if (color && count >= ColorInterleaver::kPixels) {
        ColorInterleaver::move(from.data, from.plane, to, count);
      } else if (color) {
        reorder<true, 3>(from.data, from.plane, to, count, shape_.channels);
      } else {
        reorder<true, 0>(from.data, from.plane, to, count, shape_.channels);
      }
    } else {
      const auto join = color ? reorder<true, 3, Value> : reorder<true, 0, Value>;
      join(from.data, from.plane, to, count, shape_.channels);
    }
    return {to, count};
  }

  BlockShape shape_;
  bool reorders_;
  int planes_;
  int pixel_;  // values that stand together in the image
  std::ptrdiff_t image_plane_;
  const Value* first_;
  PixelReverser reverser_;
  BlockMemory& memory_;
};

}  // namespace caffe
