// BatchReindex on the GPU; as layers_cpp/layers/batch_reindex.cpp. Backward gathers: a warp makes 32 values
// of an item of dx and looks for the item among all indices, 32 at a time.
#include "core/cuda_layer.hpp"
#include "math/index_list.hpp"
#include "math/warp_pieces.hpp"

namespace caffe::cuda {
namespace {

template <class T>
__global__ void batch_reindex_forward_kernel(IndexList indices, int size, int pieces, const T* x, T* y,
                                             Desk desk) {
  // x: (items, size), y: (indices.count, size)
  const auto [row, column] = piece_of_warp(pieces);
  if (row >= indices.count) return;
  if (column == 0) indices.check(row, desk);
  const int64_t item = indices[row];
  if (column < size) y[int64_t{row} * size + column] = item < 0 ? T(0.0f) : x[item * size + column];
}

template <class T>
__global__ void batch_reindex_backward_kernel(IndexList indices, int items, int size, int pieces, const T* dy,
                                              T* dx) {
  // dx: (items, size), dy: (indices.count, size)
  const auto [item, column] = piece_of_warp(pieces);
  if (item >= items) return;
  float sum = 0;
  indices.for_each_place(item, 0, [&, column = column](int place) {
    if (column < size) sum += static_cast<float>(dy[int64_t{place} * size + column]);
  });
  if (column < size) dx[int64_t{item} * size + column] = sum;
}

class BatchReindexLayer : public CudaLayer {
 public:
  explicit BatchReindexLayer(const Args& args) : CudaLayer("BatchReindex", args) {}

  void reshape(const Blobs& bottom, const Blobs&) override {
    items_ = bottom[0]->dim(0);
    size_ = caffe::count(bottom[0]->shape(), 1);
    count_ = bottom[1]->count();
  }

  void forward(const Context& context, const Blobs& bottom, const Blobs& top) override {
    dispatch(top[0]->dtype(), [&](auto zero) {
      using T = decltype(zero);
      launch(context, "batch_reindex_forward", grid_of_pieces(count_, size_), batch_reindex_forward_kernel<T>,
             IndexList(bottom[1]->data(), count_, items_), size_, pieces_of(size_), bottom[0]->data<T>(),
             top[0]->data<T>(), Desk(context));
    });
  }

  void backward(const Context& context, const Blobs& top, const std::vector<bool>& propagate_down,
                const Blobs& bottom) override {
    if (propagate_down[1]) throw ConfigError("BatchReindex has no gradient of its indices");
    if (!propagate_down[0]) return;
    dispatch(top[0]->dtype(), [&](auto zero) {
      using T = decltype(zero);
      launch(context, "batch_reindex_backward", grid_of_pieces(items_, size_),
             batch_reindex_backward_kernel<T>, IndexList(bottom[1]->data(), count_, items_), items_, size_,
             pieces_of(size_), top[0]->diff<T>(), bottom[0]->diff<T>());
    });
  }

 private:
  int64_t items_ = 0, size_ = 0, count_ = 0;  // of the bottom, values of each, indices
};

REGISTER_LAYER("BatchReindex", cuda, BatchReindexLayer);

}  // namespace
}  // namespace caffe::cuda
