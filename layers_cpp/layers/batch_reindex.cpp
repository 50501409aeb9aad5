// BatchReindex: y[i] = x[index i], for x (N, ...) and M indices.
//
// In both layouts an item is consecutive memory, so forward copies it. An index that is none of 0 .. N - 1 is
// an error. Gradient: dx[n] = sum of dy[i] over all i whose index is n, in float, in the order of i; 0
// without any.
#include <algorithm>
#include <cstring>

#include "core/error.hpp"
#include "core/parallel.hpp"
#include "core/registry.hpp"
#include "core/scratch.hpp"
#include "math/indices.hpp"

namespace caffe {
namespace {

// Which places hold each index.
struct Places {
  int32_t* begin;   // (limit + 1): where those of an index begin in `places`
  int32_t* places;  // (count), those of an index in their order
};

// indices: (count), all below `limit`
void group(const float* indices, int64_t count, int64_t limit, const Places& found) {
  std::fill_n(found.begin, limit + 1, 0);
  for (int64_t i = 0; i < count; ++i) ++found.begin[index_of(indices[i], limit)];
  for (int64_t n = 0; n < limit; ++n) found.begin[n + 1] += found.begin[n];
  for (int64_t i = count; i-- > 0;)
    found.places[--found.begin[index_of(indices[i], limit)]] = static_cast<int32_t>(i);
}

// dx: (items, size), dy: (count, size); a piece of an item at a time
template <class T>
void sum_items(const Places& places, int64_t items, int64_t size, const T* dy, T* dx) {
  constexpr int64_t kPiece = 256;
  const int64_t pieces = (size + kPiece - 1) / kPiece;
  parallel_for(items * pieces, kElementwiseGrain / kPiece, [=](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t item = i / pieces, first = i % pieces * kPiece;
      const int64_t length = std::min(kPiece, size - first);
      float sums[kPiece] = {};
      for (int32_t k = places.begin[item]; k < places.begin[item + 1]; ++k) {
        const T* from = dy + places.places[k] * size + first;
#pragma omp simd
        for (int64_t c = 0; c < length; ++c) sums[c] += static_cast<float>(from[c]);
      }
      T* to = dx + item * size + first;
      for (int64_t c = 0; c < length; ++c) to[c] = sums[c];
    }
  });
}

class BatchReindexLayer : public Layer {
 public:
  explicit BatchReindexLayer(const Args&) {}

  std::vector<Shape> top_shapes(const std::vector<Shape>& bottoms) const override {
    const Shape &x = bottoms[0], &indices = bottoms[1];
    if (x.empty()) throw ShapeError("the first bottom needs an axis of items, got a scalar");
    if (indices.size() != 1)
      throw ShapeError(message("the indices must have one axis, got ", to_string(indices)));
    Shape top = x;
    top[0] = indices[0];
    count(top);
    return {top};
  }

  void reshape(const Blobs& bottom, const Blobs&) override {
    items_ = bottom[0]->dim(0);
    size_ = caffe::count(bottom[0]->shape(), 1);
    count_ = bottom[1]->count();
  }

  void forward(const Context&, const Blobs& bottom, const Blobs& top) override {
    const float* indices = bottom[1]->data();
    check_indices(indices, count_, items_);
    if (size_ == 0) return;
    const size_t bytes = static_cast<size_t>(size_) * size_of(top[0]->dtype());
    const char* from = bottom[0]->data<char>();
    char* to = top[0]->data<char>();
    parallel_for(count_, kElementwiseGrain / size_ + 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i)
        std::memcpy(to + i * bytes, from + index_of(indices[i], items_) * bytes, bytes);
    });
  }

  void backward(const Context& context, const Blobs& top, const std::vector<bool>& propagate_down,
                const Blobs& bottom) override {
    if (propagate_down[1]) throw ConfigError("BatchReindex has no gradient of its indices");
    if (!propagate_down[0]) return;
    Scratch scratch(context, 0);
    const Places places = {scratch.take<int32_t>(begin_bytes()), scratch.take<int32_t>(places_bytes())};
    group(bottom[1]->data(), count_, items_, places);
    dispatch(top[0]->dtype(), [&](auto zero) {
      using T = decltype(zero);
      sum_items(places, items_, size_, top[0]->diff<T>(), bottom[0]->diff<T>());
    });
  }

  size_t scratch_bytes() const override {
    return runs_backward ? scratch_size(begin_bytes()) + scratch_size(places_bytes()) : 0;
  }

  std::string explain(const Complaint& complaint) const override {
    return bad_index(complaint.value, complaint.place, complaint.limit);
  }

 private:
  size_t begin_bytes() const { return static_cast<size_t>(items_ + 1) * sizeof(int32_t); }
  size_t places_bytes() const { return static_cast<size_t>(count_) * sizeof(int32_t); }

  int64_t items_ = 0, size_ = 0, count_ = 0;  // of the bottom, values of each, indices
};

REGISTER_LAYER("BatchReindex", cpu, BatchReindexLayer);

}  // namespace
}  // namespace caffe
