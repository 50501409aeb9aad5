// A Datum (one record of an image database) read straight from its protobuf bytes, without copying the
// pixels.
//
//   message Datum { int32 channels = 1, height = 2, width = 3; bytes data = 4; int32 label = 5;
//                   repeated float float_data = 6; bool encoded = 7; }
//
// Records are not trusted: every length is checked, unknown fields are skipped, and whatever does not add up
// throws std::invalid_argument.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace caffe {

using Bytes = std::span<const std::uint8_t>;

struct Datum {
  int channels = 0;
  int height = 0;
  int width = 0;
  int label = 0;
  bool encoded = false;
  Bytes data;                     // points into the record
  std::vector<float> float_data;  // used when `data` is empty
};

// Field by field, as protobuf does it: the last value of a field counts.
Datum parse_datum(Bytes record);

// Throws unless a datum that is not encoded holds exactly channels x height x width values, all sizes >= 1.
void check_pixel_count(const Datum& datum);

}  // namespace caffe
