// InnerProduct on the GPU; formulas as in layers_cpp/layers/inner_product.cpp.
//
// Three matrix products. In bfloat16 the weights are copied when they have changed; their gradient is summed
// straight into the float32 diff. The kernel that sums the gradient of the bias masks dY by a fused ReLU.
#include <algorithm>

#include "core/cuda_layer.hpp"
#include "math/bias_gradient.hpp"
#include "math/learned_weights.hpp"
#include "math/matrix_product.hpp"

namespace caffe::cuda {
namespace {

class InnerProductLayer : public CudaLayer {
 public:
  explicit InnerProductLayer(const Args& args)
      : CudaLayer("InnerProduct", args),
        outputs_(args.integer("num_output")),
        bias_(args.flag("bias_term")),
        transpose_(args.flag("transpose")),
        relu_(args.flag("relu")),
        tf32_(args.flag("tf32")),
        axis_(args.integer("axis")) {}

  void reshape(const Blobs& bottom, const Blobs& top) override {
    const size_t axis = canonical_axis(bottom[0]->shape(), axis_);
    rows_ = count(bottom[0]->shape(), 0, axis);
    inputs_ = count(bottom[0]->shape(), axis);
    if (param_shapes({bottom[0]->shape()})[0] != params[0]->shape())
      throw ShapeError(message("input size incompatible: the weights are ", to_string(params[0]->shape()),
                               ", the bottom has shape ", to_string(bottom[0]->shape())));
    empty_ = rows_ == 0 || inputs_ == 0;
    if (empty_) return;
    weights_.create(*params[0], top[0]->dtype());
    create_forward(top[0]->dtype());
    if (runs_backward) create_backward(top[0]->dtype());
  }

  void forward(const Context& context, const Blobs& bottom, const Blobs& top) override {
    if (empty_) return;
    forward_->run(context, 0, bottom[0]->data<void>(), weights_.get(context, *params[0]),
                  bias_ ? params[1]->data() : nullptr, top[0]->data<void>());
  }

  void backward(const Context& context, const Blobs& top, const std::vector<bool>& propagate_down,
                const Blobs& bottom) override {
    if (empty_) return;
    bias_gradient_.run(context, *top[0], relu_, bias_ && param_propagate_down[1] ? params[1].get() : nullptr);
    if (param_propagate_down[0]) learn_weights(context, *bottom[0], *top[0]);
    if (propagate_down[0])
      data_gradient_->run(context, 0, top[0]->diff<void>(), weights_.get(context, *params[0]), nullptr,
                          bottom[0]->diff<void>());
  }

  size_t private_bytes(bool /*training*/) const override { return weights_.bytes(); }

  size_t scratch_bytes() const override {
    if (!forward_) return 0;
    if (!data_gradient_) return forward_->scratch_bytes();
    return std::max({forward_->scratch_bytes(), data_gradient_->scratch_bytes(),
                     bias_gradient_.scratch_bytes(), learn_first_->scratch_bytes(),
                     learn_more_->scratch_bytes()});
  }

 private:
  void create_forward(DType type) {
    forward_ = make_matrix_product({.m = rows_,
                                    .n = outputs_,
                                    .k = inputs_,
                                    .transpose_b = !transpose_,
                                    .factors = type,
                                    .product = type,
                                    .tf32 = tf32_,
                                    .bias = bias_,
                                    .relu = relu_});
  }

  void create_backward(DType type) {
    data_gradient_ = make_matrix_product({.m = rows_,
                                          .n = inputs_,
                                          .k = outputs_,
                                          .transpose_b = transpose_,
                                          .factors = type,
                                          .product = type,
                                          .tf32 = tf32_});
    // dY^T X, or X^T dY where the weights are stored the other way round.
    MatrixProductSpec learn{.m = transpose_ ? inputs_ : outputs_,
                            .n = transpose_ ? outputs_ : inputs_,
                            .k = rows_,
                            .transpose_a = true,
                            .factors = type,
                            .tf32 = tf32_};
    learn_first_ = make_matrix_product(learn);
    learn.accumulate = true;
    learn_more_ = make_matrix_product(learn);
    bias_gradient_.create(rows_, outputs_, type);
  }

  void learn_weights(const Context& context, Blob& bottom, Blob& top) {
    Storage& gradient = params[0]->diff_storage();
    const bool more = !gradient.zero();
    void* sum = more ? gradient.data() : gradient.overwrite();
    const void *x = bottom.data<void>(), *dy = top.diff<void>();
    const auto& product = more ? learn_more_ : learn_first_;
    product->run(context, 0, transpose_ ? x : dy, transpose_ ? dy : x, nullptr, sum);
  }

  const int64_t outputs_;
  const bool bias_, transpose_, relu_, tf32_;
  const int64_t axis_;

  int64_t rows_ = 0, inputs_ = 0;
  bool empty_ = false;
  std::unique_ptr<MatrixProduct> forward_, data_gradient_;
  std::unique_ptr<MatrixProduct> learn_first_,
      learn_more_;  // the weight gradient overwrites zeros, or is added
  BiasGradient bias_gradient_;
  LearnedWeights weights_;
};

REGISTER_LAYER("InnerProduct", cuda, InnerProductLayer);

}  // namespace
}  // namespace caffe::cuda
