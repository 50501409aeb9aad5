// Embed: y[m, :] = W[index m, :] + b, for M indices of any shape, W (I, N) and b (N).
//
// It is an InnerProduct of one-hot rows, without the rows. An index that is none of 0 .. I - 1 is an error.
// Gradients accumulate, in float: dW[index m, :] += dy[m, :] and db += dy[m, :], in the order of m; a thread
// has some columns to itself. There is none of the indices.
#include <algorithm>

#include "core/error.hpp"
#include "core/registry.hpp"
#include "math/column_sums.hpp"
#include "math/indices.hpp"

namespace caffe {
namespace {

// y: (rows, columns), weights: (table, columns), bias: (columns) or null
void embed_forward(const float* indices, int64_t table, const float* weights, const float* bias, float* y,
                   int64_t rows, int64_t columns) {
  parallel_for(rows, kElementwiseGrain / columns + 1, [=](int64_t begin, int64_t end, int) {
    for (int64_t m = begin; m < end; ++m) {
      const float* from = weights + index_of(indices[m], table) * columns;
      float* to = y + m * columns;
#pragma omp simd
      for (int64_t n = 0; n < columns; ++n) to[n] = bias ? from[n] + bias[n] : from[n];
    }
  });
}

// gradient (table, columns): [index m, n] += dy[m, n]
void add_rows(const float* indices, int64_t table, const float* dy, float* gradient, int64_t rows,
              int64_t columns) {
  for_each_columns(rows, columns, [=](int64_t begin, int64_t end) {
    for (int64_t m = 0; m < rows; ++m) {
      const float* from = dy + m * columns;
      float* sum = gradient + index_of(indices[m], table) * columns;
#pragma omp simd
      for (int64_t n = begin; n < end; ++n) sum[n] += from[n];
    }
  });
}

class EmbedLayer : public Layer {
 public:
  explicit EmbedLayer(const Args& args)
      : table_(args.integer("input_dim")),
        columns_(args.integer("num_output")),
        bias_(args.flag("bias_term")) {}

  std::vector<Shape> top_shapes(const std::vector<Shape>& bottoms) const override {
    Shape top = bottoms[0];
    top.push_back(columns_);
    count(top);
    return {top};
  }

  std::vector<Shape> param_shapes(const std::vector<Shape>&) const override {
    if (!bias_) return {{table_, columns_}};
    return {{table_, columns_}, {columns_}};
  }

  void forward(const Context&, const Blobs& bottom, const Blobs& top) override {
    check_indices(bottom[0]->data(), bottom[0]->count(), table_);
    embed_forward(bottom[0]->data(), table_, params[0]->data(), bias_ ? params[1]->data() : nullptr,
                  top[0]->data(), bottom[0]->count(), columns_);
  }

  void backward(const Context&, const Blobs& top, const std::vector<bool>& propagate_down,
                const Blobs& bottom) override {
    if (propagate_down[0]) throw ConfigError("Embed has no gradient of its indices");
    const int64_t rows = bottom[0]->count();
    const float* dy = top[0]->diff();
    if (param_propagate_down[0]) add_rows(bottom[0]->data(), table_, dy, params[0]->diff(), rows, columns_);
    if (bias_ && param_propagate_down[1]) add_column_sums(dy, params[1]->diff(), rows, columns_);
  }

  std::string explain(const Complaint& complaint) const override {
    return bad_index(complaint.value, complaint.place, complaint.limit);
  }

 private:
  const int64_t table_, columns_;
  const bool bias_;
};

REGISTER_LAYER("Embed", cpu, EmbedLayer);

}  // namespace
}  // namespace caffe
