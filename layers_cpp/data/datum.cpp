#include "data/datum.hpp"

#include <cstring>
#include <stdexcept>
#include <string>

namespace caffe {
namespace {

enum WireType { kVarint = 0, kFixed64 = 1, kLengthDelimited = 2, kFixed32 = 5 };

// Walks over the bytes of one message; never past their end.
class WireReader {
 public:
  explicit WireReader(Bytes bytes) : bytes_(bytes) {}

  bool done() const { return position_ == bytes_.size(); }

  std::uint64_t varint() {
    std::uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const std::uint8_t byte = take(1)[0];
      value |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    throw std::invalid_argument("record is not a Datum: a number has more than 10 bytes");
  }

  Bytes delimited() { return take(varint()); }

  float fixed_float() {
    float value;
    std::memcpy(&value, take(sizeof value).data(), sizeof value);
    return value;
  }

  void skip(std::uint64_t wire_type) {
    switch (wire_type) {
      case kVarint:
        varint();
        return;
      case kFixed64:
        take(8);
        return;
      case kLengthDelimited:
        delimited();
        return;
      case kFixed32:
        take(4);
        return;
      default:
        throw std::invalid_argument("record is not a Datum: wire type " + std::to_string(wire_type));
    }
  }

 private:
  Bytes take(std::uint64_t count) {
    if (count > bytes_.size() - position_) {
      throw std::invalid_argument("record ends early: " + std::to_string(count) + " bytes expected at byte " +
                                  std::to_string(position_) + " of " + std::to_string(bytes_.size()));
    }
    const Bytes taken = bytes_.subspan(position_, count);
    position_ += count;
    return taken;
  }

  Bytes bytes_;
  std::size_t position_ = 0;
};

void append_packed(Bytes packed, std::vector<float>& values) {
  if (packed.size() % sizeof(float) != 0)
    throw std::invalid_argument("record's float_data is not whole floats");
  const std::size_t before = values.size();
  values.resize(before + packed.size() / sizeof(float));
  if (!packed.empty()) std::memcpy(values.data() + before, packed.data(), packed.size());
}

constexpr std::uint64_t tag(std::uint64_t field, WireType type) { return field << 3 | type; }

}  // namespace

Datum parse_datum(Bytes record) {
  Datum datum;
  WireReader reader(record);
  while (!reader.done()) {
    const std::uint64_t key = reader.varint();
    switch (key) {
      case tag(1, kVarint):
        datum.channels = static_cast<int>(reader.varint());
        break;
      case tag(2, kVarint):
        datum.height = static_cast<int>(reader.varint());
        break;
      case tag(3, kVarint):
        datum.width = static_cast<int>(reader.varint());
        break;
      case tag(4, kLengthDelimited):
        datum.data = reader.delimited();
        break;
      case tag(5, kVarint):
        datum.label = static_cast<int>(reader.varint());
        break;
      case tag(6, kFixed32):
        datum.float_data.push_back(reader.fixed_float());
        break;
      case tag(6, kLengthDelimited):
        append_packed(reader.delimited(), datum.float_data);
        break;
      case tag(7, kVarint):
        datum.encoded = reader.varint() != 0;
        break;
      default:
        if (key >> 3 == 0) throw std::invalid_argument("record is not a Datum: field number 0");
        reader.skip(key & 7);
    }
  }
  return datum;
}

void check_pixel_count(const Datum& datum) {
  const std::size_t held = datum.data.empty() ? datum.float_data.size() : datum.data.size();
  const bool some = datum.channels >= 1 && datum.height >= 1 && datum.width >= 1;
  std::int64_t wanted = 0;
  const bool overflow =
      __builtin_mul_overflow(std::int64_t{datum.channels} * datum.height, std::int64_t{datum.width}, &wanted);
  if (some && !overflow && static_cast<std::uint64_t>(wanted) == held) return;
  const std::string shape = std::to_string(datum.channels) + "x" + std::to_string(datum.height) + "x" +
                            std::to_string(datum.width) + " (channels, height, width)";
  if (!some) throw std::invalid_argument("image has no pixels: its size is " + shape);
  throw std::invalid_argument("size " + shape + " does not match the " + std::to_string(held) +
                              " values held");
}

}  // namespace caffe
