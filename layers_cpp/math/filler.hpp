// Initial values of learned blobs. Formulas and names as in Caffe; the random stream is our own (Philox).
#pragma once

#include <cstdint>
#include <string>

#include "core/blob.hpp"

namespace caffe {

struct Filler {
  std::string type = "constant";
  float value = 0, min = 0, max = 1, mean = 0, std = 1;
  int64_t sparse = -1;                   // nonzero inputs wanted per output, -1 for all
  std::string variance_norm = "FAN_IN";  // or FAN_OUT, AVERAGE
};

// Fills `blob.data`, in the order of its memory. `seed` and `stream` choose the random numbers, `iteration` a
// fresh draw of them. Throws ConfigError for an unknown type or a blob the filler cannot fill.
void fill(const Filler& filler, Blob& blob, uint64_t seed, uint64_t stream, uint64_t iteration);

// The same for a blob of any layout, on which the values do not depend. Where they must be made in another
// order than they lie in memory, that is done in `staging`, which takes the blob's shape.
void fill_logical(const Filler& filler, Blob& blob, Blob& staging, uint64_t seed, uint64_t stream,
                  uint64_t iteration);

}  // namespace caffe
