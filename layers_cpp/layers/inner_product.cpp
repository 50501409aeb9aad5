// InnerProduct (fully connected): Y = X W^T + b.
//
//   dX = dY W,  dW += dY^T X,  db += column sums of dY
//
// X: (M, K), the axes before `axis` flattened into M and the rest into K; W: (N, K), or (K, N) with
// `transpose`; b: (N); Y: (M, N). Three matrix products of oneDNN on the learned blob's own layout: nothing
// is packed in float32. A ReLU may be fused: then Y = max(., 0), and backward masks dY in place first.
#include <algorithm>

#include "core/error.hpp"
#include "core/registry.hpp"
#include "math/column_sums.hpp"
#include "math/elementwise.hpp"
#include "math/packed_weights.hpp"

namespace caffe {
namespace {

using dnnl::matmul;

class InnerProductLayer : public Layer {
 public:
  explicit InnerProductLayer(const Args& args)
      : outputs_(args.integer("num_output")),
        bias_(args.flag("bias_term")),
        transpose_(args.flag("transpose")),
        relu_(args.flag("relu")),
        axis_(args.integer("axis")) {}

  std::vector<Shape> top_shapes(const std::vector<Shape>& bottoms) const override {
    const size_t axis = canonical_axis(bottoms[0], axis_);
    Shape top(bottoms[0].begin(), bottoms[0].begin() + static_cast<int64_t>(axis));
    top.push_back(outputs_);
    count(top);
    return {top};
  }

  std::vector<Shape> param_shapes(const std::vector<Shape>& bottoms) const override {
    const int64_t inputs = count(bottoms[0], canonical_axis(bottoms[0], axis_));
    const Shape weights = transpose_ ? Shape{inputs, outputs_} : Shape{outputs_, inputs};
    if (!bias_) return {weights};
    return {weights, {outputs_}};
  }

  void reshape(const Blobs& bottom, const Blobs& top) override {
    const size_t axis = canonical_axis(bottom[0]->shape(), axis_);
    rows_ = count(bottom[0]->shape(), 0, axis);
    inputs_ = count(bottom[0]->shape(), axis);
    if (param_shapes({bottom[0]->shape()})[0] != params[0]->shape())
      throw ShapeError(message("input size incompatible: the weights are ", to_string(params[0]->shape()),
                               ", the bottom has shape ", to_string(bottom[0]->shape())));
    empty_ = rows_ == 0 || inputs_ == 0;
    if (empty_) return;
    create_forward(top[0]->dtype());
    if (runs_backward) create_backward(top[0]->dtype());
  }

  void forward(const Context& context, const Blobs& bottom, const Blobs& top) override {
    if (empty_) return;
    void *x = bottom[0]->data<void>(), *y = top[0]->data<void>();
    void* weights = forward_weights_.get(context, *params[0]);
    if (bias_)
      forward_.execute(context, {x, weights, params[1]->data(), y});
    else
      forward_.execute(context, {x, weights, y});
  }

  void backward(const Context& context, const Blobs& top, const std::vector<bool>& propagate_down,
                const Blobs& bottom) override {
    if (empty_) return;
    void *x = bottom[0]->data<void>(), *dy = top[0]->diff<void>();
    dispatch(top[0]->dtype(), [&](auto zero) {
      using T = decltype(zero);
      if (relu_) mask_by_relu(top[0]->data<T>(), top[0]->diff<T>(), top[0]->count());
      if (bias_ && param_propagate_down[1])
        add_column_sums(top[0]->diff<T>(), params[1]->diff(), rows_, outputs_);
    });
    if (param_propagate_down[0]) {
      Storage& gradient = params[0]->diff_storage();
      Primitive& learn = gradient.zero() ? learn_first_ : learn_more_;
      void* sum = gradient.zero() ? gradient.overwrite() : gradient.data();
      if (transpose_)
        learn.execute(context, {x, dy, sum});
      else
        learn.execute(context, {dy, x, sum});
    }
    if (propagate_down[0])
      backward_data_.execute(context,
                             {dy, backward_weights_.get(context, *params[0]), bottom[0]->diff<void>()});
  }

  size_t private_bytes(bool training) const override {
    return forward_weights_.bytes() + (training ? backward_weights_.bytes() : 0);
  }
  size_t scratch_bytes() const override {
    return std::max({forward_.scratch_bytes(), backward_data_.scratch_bytes(), learn_first_.scratch_bytes(),
                     learn_more_.scratch_bytes(), forward_weights_.scratch_bytes(),
                     backward_weights_.scratch_bytes()});
  }

 private:
  using Desc = dnnl::memory::desc;

  // A row-major matrix, or the transpose of one stored so.
  static Desc matrix(int64_t rows, int64_t columns, DType type) {
    return describe_plain({rows, columns}, type);
  }
  static Desc transposed(int64_t rows, int64_t columns, DType type) {
    return {{rows, columns}, onednn_type(type), dnnl::memory::dims{1, rows}};
  }

  // W as the right operand (K, N) of the forward product, and as the right operand (N, K) of the backward
  // one.
  Desc weights_kn() const {
    return transpose_ ? matrix(inputs_, outputs_, DType::float32)
                      : transposed(inputs_, outputs_, DType::float32);
  }
  Desc weights_nk() const {
    return transpose_ ? transposed(outputs_, inputs_, DType::float32)
                      : matrix(outputs_, inputs_, DType::float32);
  }

  static Desc wanted(const Desc& plain, DType type) {
    return type == DType::float32 ? plain
                                  : Desc(plain.get_dims(), onednn_type(type), dnnl::memory::format_tag::any);
  }

  void create_forward(DType type) {
    const Desc x = matrix(rows_, inputs_, type), y = matrix(rows_, outputs_, type);
    const Desc bias = matrix(1, outputs_, DType::float32), weights = wanted(weights_kn(), type);
    dnnl::primitive_attr attr = default_attr();
    if (relu_) {
      dnnl::post_ops relu;
      relu.append_eltwise(dnnl::algorithm::eltwise_relu, 0.0f, 0.0f);
      attr.set_post_ops(relu);
    }
    const auto desc = bias_ ? matmul::primitive_desc(cpu_engine(), x, weights, bias, y, attr)
                            : matmul::primitive_desc(cpu_engine(), x, weights, y, attr);
    if (bias_)
      forward_.create(desc, {{DNNL_ARG_SRC, x},
                             {DNNL_ARG_WEIGHTS, desc.weights_desc()},
                             {DNNL_ARG_BIAS, bias},
                             {DNNL_ARG_DST, y}});
    else
      forward_.create(desc, {{DNNL_ARG_SRC, x}, {DNNL_ARG_WEIGHTS, desc.weights_desc()}, {DNNL_ARG_DST, y}});
    forward_weights_.create(weights_kn(), desc.weights_desc());
  }

  void create_backward(DType type) {
    const Desc x = matrix(rows_, inputs_, type), dy = matrix(rows_, outputs_, type);
    const matmul::primitive_desc data_desc(cpu_engine(), dy, wanted(weights_nk(), type), x, default_attr());
    backward_data_.create(
        data_desc, {{DNNL_ARG_SRC, dy}, {DNNL_ARG_WEIGHTS, data_desc.weights_desc()}, {DNNL_ARG_DST, x}});
    backward_weights_.create(weights_nk(), data_desc.weights_desc());

    dnnl::primitive_attr accumulate = default_attr();
    dnnl::post_ops sum;
    sum.append_sum(1.0f);
    accumulate.set_post_ops(sum);
    create_learn(learn_first_, type, default_attr());
    create_learn(learn_more_, type, accumulate);
  }

  void create_learn(Primitive& learn, DType type, const dnnl::primitive_attr& attr) const {
    const Desc left = transpose_ ? transposed(inputs_, rows_, type) : transposed(outputs_, rows_, type);
    const Desc right = transpose_ ? matrix(rows_, outputs_, type) : matrix(rows_, inputs_, type);
    const Desc gradient =
        transpose_ ? matrix(inputs_, outputs_, DType::float32) : matrix(outputs_, inputs_, DType::float32);
    const matmul::primitive_desc desc(cpu_engine(), left, right, gradient, attr);
    learn.create(desc, {{DNNL_ARG_SRC, left}, {DNNL_ARG_WEIGHTS, right}, {DNNL_ARG_DST, gradient}});
  }

  const int64_t outputs_;
  const bool bias_, transpose_, relu_;
  const int64_t axis_;

  int64_t rows_ = 0, inputs_ = 0;
  bool empty_ = false;
  Primitive forward_, backward_data_;
  Primitive learn_first_, learn_more_;  // the weight gradient overwrites zeros, or is added
  PackedWeights forward_weights_, backward_weights_;
};

REGISTER_LAYER("InnerProduct", cpu, InnerProductLayer);

}  // namespace
}  // namespace caffe
