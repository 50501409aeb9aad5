// Learned weights in the layout and type a primitive wants. Packed again only when the plain ones may have
// changed.
#pragma once

#include <algorithm>

#include "core/onednn.hpp"

namespace caffe {

class PackedWeights {
 public:
  // `plain` describes the learned blob's memory, `wanted` what the primitive asked for.
  void create(const dnnl::memory::desc& plain, const dnnl::memory::desc& wanted) {
    same_ = plain == wanted;
    fresh_.reset();
    if (same_) return;
    packing_.create(plain, wanted);
    packed_.reserve(wanted.get_size());
  }

  // The weights as the primitive wants them.
  void* get(const Context& context, Blob& weights) {
    if (same_) return weights.data<void>();
    if (fresh_.stale(weights.data_storage())) packing_.execute(context, weights.data<void>(), packed_.data());
    return packed_.data();
  }

  size_t bytes() const { return same_ ? 0 : packed_.bytes(); }
  size_t scratch_bytes() const { return same_ ? 0 : packing_.scratch_bytes(); }

 private:
  Reordering packing_;
  Storage packed_;
  Freshness fresh_;
  bool same_ = true;
};

// The way back: a weight gradient from the primitive's layout is added to the plain one, or becomes it where
// that is known to be zero.
class WeightGradient {
 public:
  void create(const dnnl::memory::desc& computed, const dnnl::memory::desc& plain) {
    bytes_ = (computed.get_size() + 63) / 64 * 64;
    adding_.create(computed, plain, /*accumulate=*/true);
    copying_.create(computed, plain);
  }
  // Size of the buffer the gradient is computed into, a multiple of 64.
  size_t bytes() const { return bytes_; }
  size_t scratch_bytes() const { return std::max(adding_.scratch_bytes(), copying_.scratch_bytes()); }
  void add(const Context& context, void* computed, Blob& weights, size_t scratch_offset) {
    Storage& diff = weights.diff_storage();
    if (diff.zero())
      copying_.execute(context, computed, diff.overwrite(), scratch_offset);
    else
      adding_.execute(context, computed, diff.data(), scratch_offset);
  }

 private:
  Reordering adding_, copying_;
  size_t bytes_ = 0;
};

}  // namespace caffe
