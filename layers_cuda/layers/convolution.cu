// Convolution of channels-last maps on the GPU; formulas as in layers_cpp/layers/convolution.cpp.
//
// The passes of math/convolution.hpp do the products. What is left are reductions and conversions of the
// weights, and the gradient of the bias, whose kernel masks dy by a fused ReLU along the way. With the
// argument `accumulates` backward adds to the diff of the bottom what it overwrites otherwise.
#include <algorithm>

#include "core/cuda_layer.hpp"
#include "core/scratch.hpp"
#include "math/bias_gradient.hpp"
#include "math/convolution.hpp"
#include "math/folded_weights.hpp"
#include "math/learned_weights.hpp"

namespace caffe::cuda {
namespace {

class ConvolutionLayer : public CudaLayer {
 public:
  explicit ConvolutionLayer(const Args& args)
      : CudaLayer("Convolution", args),
        outputs_(args.integer("num_output")),
        group_(args.integer("group")),
        bias_(args.flag("bias_term")),
        relu_(args.flag("relu")),
        masks_(relu_ && args.flag("relu_backward")),
        folds_(args.flag("batch_norm")),
        folds_scale_(args.flag("scale_bias")),
        adds_(args.flag("addend")),
        accumulates_(args.flag("accumulates")),
        tf32_(args.flag("tf32")),
        eps_(args.real("eps")),
        axis_(args.integer("axis")),
        kernel_(args.integers("kernel")),
        stride_(args.integers("stride")),
        pad_(args.integers("pad")),
        dilation_(args.integers("dilation")) {}

  void reshape(const Blobs& bottom, const Blobs& top) override {
    check_bottom(*bottom[0]);
    empty_ = bottom[0]->count() == 0;
    if (empty_) return;
    create_passes(spec(*bottom[0], *top[0]));
    if (folds_)
      folded_.create(params, bias_, folds_scale_, eps_, top[0]->dtype());
    else
      weights_.create(*params[0], top[0]->dtype());
  }

  void forward(const Context& context, const Blobs& bottom, const Blobs& top) override {
    if (empty_) return;
    if (folds_) folded_.update(context);
    const void* weights = folds_ ? folded_.weights() : weights_.get(context, *params[0]);
    const float* bias = folds_ ? folded_.bias() : bias_ ? params[1]->data() : nullptr;
    const void* addend = adds_ ? bottom[1]->data<void>() : nullptr;
    for (size_t i = 0; i < top.size(); ++i)
      forward_->run(context, 0, bottom[i]->data<void>(), weights, bias, addend, top[i]->data<void>());
  }

  void backward(const Context& context, const Blobs& top, const std::vector<bool>& propagate_down,
                const Blobs& bottom) override {
    if (!has_backward()) throw ConfigError("a convolution fused for testing runs forward only");
    if (empty_) return;
    Blob* bias = bias_ && param_propagate_down[1] ? params[1].get() : nullptr;
    for (size_t i = 0; i < bottom.size(); ++i) {
      bias_gradient_.run(context, *top[i], masks_, bias);
      if (param_propagate_down[0]) learn_weights(context, *bottom[i], *top[i]);
      if (propagate_down[i])
        data_gradient_->run(context, 0, top[i]->diff<void>(), weights_.get(context, *params[0]),
                            bottom[i]->diff<void>());
    }
  }

  size_t private_bytes(bool /*training*/) const override { return weights_.bytes() + folded_.bytes(); }

  size_t scratch_bytes() const override {
    if (!forward_) return 0;
    if (!data_gradient_) return forward_->scratch_bytes();
    return std::max({forward_->scratch_bytes(), data_gradient_->scratch_bytes(),
                     bias_gradient_.scratch_bytes(), gradient_bytes_ + weight_gradient_->scratch_bytes()});
  }

 private:
  void check_bottom(const Blob& bottom) const {
    if (param_shapes({bottom.shape()})[0] != params[0]->shape())
      throw ShapeError(message("the weights ", to_string(params[0]->shape()), " do not fit bottom shape ",
                               to_string(bottom.shape())));
    if (bottom.layout() != Layout::channels_last || canonical_axis(bottom.shape(), axis_) != 1)
      throw ShapeError(
          message("the GPU convolves channels-last maps of 2 or 3 spatial axes along axis 1, "
                  "got a bottom of shape ",
                  to_string(bottom.shape()), " and axis ", axis_, "; let the plan place it"));
  }

  ConvolutionSpec spec(const Blob& bottom, const Blob& top) const {
    const auto spatial = [](const Blob& blob) {
      return std::vector<int64_t>(blob.shape().begin() + 2, blob.shape().end());
    };
    return {.items = bottom.dim(0),
            .channels = bottom.dim(1),
            .outputs = outputs_,
            .group = group_,
            .in = spatial(bottom),
            .out = spatial(top),
            .kernel = kernel_,
            .stride = stride_,
            .pad = pad_,
            .dilation = dilation_,
            .dtype = top.dtype(),
            .tf32 = tf32_,
            .bias = bias_ || folds_,
            .addend = adds_,
            .relu = relu_,
            .accumulates = accumulates_};
  }

  void create_passes(const ConvolutionSpec& spec) {
    const bool backward = runs_backward && has_backward();
    forward_ = make_forward(spec);
    data_gradient_ = backward ? make_data_gradient(spec) : nullptr;
    weight_gradient_ = backward ? make_weight_gradient(spec) : nullptr;
    bias_gradient_.create(spec.items * count(spec.out), outputs_, spec.dtype);
    gradient_bytes_ = scratch_size(static_cast<size_t>(params[0]->count()) * size_of(spec.dtype));
  }

  void learn_weights(const Context& context, Blob& bottom, Blob& top) {
    Scratch scratch(context, 0);
    dispatch(top.dtype(), [&](auto zero) {
      using T = decltype(zero);
      add_gradient(context, scratch.take<T>(gradient_bytes_), *params[0], [&](void* dw) {
        weight_gradient_->run(context, scratch.used, bottom.data<void>(), top.diff<void>(), dw);
      });
    });
  }

  const int64_t outputs_, group_;
  const bool bias_, relu_, masks_, folds_, folds_scale_, adds_, accumulates_, tf32_;
  const float eps_;
  const int64_t axis_;
  const std::vector<int64_t> kernel_, stride_, pad_, dilation_;

  bool empty_ = false;
  std::unique_ptr<ConvolutionForward> forward_;
  std::unique_ptr<ConvolutionDataGradient> data_gradient_;
  std::unique_ptr<ConvolutionWeightGradient> weight_gradient_;
  size_t gradient_bytes_ = 0;
  BiasGradient bias_gradient_;
  LearnedWeights weights_;
  FoldedWeights folded_;
};

REGISTER_LAYER("Convolution", cuda, ConvolutionLayer);

}  // namespace
}  // namespace caffe::cuda
