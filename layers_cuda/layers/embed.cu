// Embed on the GPU; as layers_cpp/layers/embed.cpp. The gradient of the table is gathered: of all places with
// the same index, a warp of the first one adds up a piece of their rows, in their order; the other warps end.
#include "core/cuda_layer.hpp"
#include "math/bias_gradient.hpp"
#include "math/index_list.hpp"
#include "math/warp_pieces.hpp"

namespace caffe::cuda {
namespace {

extern "C" __global__ void embed_forward_kernel(IndexList indices, int columns, int pieces,
                                                const float* table, const float* bias, float* y, Desk desk) {
  // table: (limit of the indices, columns), bias: (columns) or null, y: (indices.count, columns)
  const auto [row, column] = piece_of_warp(pieces);
  if (row >= indices.count) return;
  if (column == 0) indices.check(row, desk);
  if (column >= columns) return;
  const int64_t index = indices[row];
  const float value = index < 0 ? 0.0f : table[index * columns + column];
  y[int64_t{row} * columns + column] = bias ? value + bias[column] : value;
}

extern "C" __global__ void embed_backward_kernel(IndexList indices, int columns, int pieces, const float* dy,
                                                 float* gradient) {
  // gradient: (limit of the indices, columns), dy: (indices.count, columns)
  const auto [row, column] = piece_of_warp(pieces);
  if (row >= indices.count) return;
  const int index = indices[row];
  if (index < 0 || !indices.first(row)) return;
  float* to = gradient + int64_t{index} * columns + column;
  float sum = column < columns ? *to : 0.0f;
  indices.for_each_place(index, row, [&, column = column](int place) {
    if (column < columns) sum += dy[int64_t{place} * columns + column];
  });
  if (column < columns) *to = sum;
}

class EmbedLayer : public CudaLayer {
 public:
  explicit EmbedLayer(const Args& args)
      : CudaLayer("Embed", args),
        table_(args.integer("input_dim")),
        columns_(args.integer("num_output")),
        bias_(args.flag("bias_term")) {}

  void reshape(const Blobs& bottom, const Blobs& top) override {
    rows_ = bottom[0]->count();
    if (bias_ && runs_backward) bias_gradient_.create(rows_, columns_, top[0]->dtype());
  }

  void forward(const Context& context, const Blobs& bottom, const Blobs& top) override {
    launch(context, "embed_forward", grid_of_pieces(rows_, columns_), embed_forward_kernel,
           IndexList(bottom[0]->data(), rows_, table_), columns_, pieces_of(columns_), params[0]->data(),
           bias_ ? params[1]->data() : nullptr, top[0]->data(), Desk(context));
  }

  void backward(const Context& context, const Blobs& top, const std::vector<bool>& propagate_down,
                const Blobs& bottom) override {
    if (propagate_down[0]) throw ConfigError("Embed has no gradient of its indices");
    if (rows_ == 0) return;
    if (param_propagate_down[0])
      launch(context, "embed_backward", grid_of_pieces(rows_, columns_), embed_backward_kernel,
             IndexList(bottom[0]->data(), rows_, table_), columns_, pieces_of(columns_), top[0]->diff(),
             params[0]->diff());
    if (bias_ && param_propagate_down[1]) bias_gradient_.run(context, *top[0], false, params[1].get());
  }

  size_t scratch_bytes() const override { return bias_gradient_.scratch_bytes(); }

 private:
  const int64_t table_, columns_;
  const bool bias_;
  int64_t rows_ = 0;
  BiasGradient bias_gradient_;
};

REGISTER_LAYER("Embed", cuda, EmbedLayer);

}  // namespace
}  // namespace caffe::cuda
