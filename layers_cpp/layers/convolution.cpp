// Convolution over S spatial axes with groups, stride, padding and dilation (cross-correlation: no kernel
// flip).
//
//   y[n, o, p] = b[o] + sum over c, q of W[o, c, q] * x[n, c, p * stride - pad + q * dilation]
//
//   dx = the transposed convolution of dy with W
//
//   dW += correlation of x and dy;  db += sum of dy over n and p
//
// with c in the group of o, and q in the kernel.
//
// x: (N, C, in...), W: (O, C / group, kernel...), b: (O), y: (N, O, out...), out = (in + 2 pad - extent) /
// stride + 1 rounded down, extent = dilation * (kernel - 1) + 1. Axes before `axis` count as items. Several
// bottoms of one shape share the weights. math/convolution.hpp chooses who computes each pass. A ReLU may be
// fused: then y = max(., 0), and backward masks dy in place first, unless the layer above has done so. Where
// only forward runs, a BatchNorm with stored statistics and a Scale may be folded into the weights, and a
// second bottom like the top may be added before the ReLU.
#include "math/convolution.hpp"

#include <algorithm>

#include "core/error.hpp"
#include "core/onednn.hpp"
#include "core/registry.hpp"
#include "math/elementwise.hpp"
#include "math/folded_batch_norm.hpp"

namespace caffe {
namespace {

class ConvolutionLayer : public Layer {
 public:
  explicit ConvolutionLayer(const Args& args)
      : outputs_(args.integer("num_output")),
        group_(args.integer("group")),
        bias_(args.flag("bias_term")),
        relu_(args.flag("relu")),
        masks_(relu_ && args.flag("relu_backward")),
        folds_(args.flag("batch_norm")),
        folds_scale_(args.flag("scale_bias")),
        winograd_(args.flag("winograd")),
        adds_(args.flag("addend")),
        eps_(args.real("eps")),
        axis_(args.integer("axis")),
        kernel_(args.integers("kernel")),
        stride_(args.integers("stride")),
        pad_(args.integers("pad")),
        dilation_(args.integers("dilation")) {}

  std::vector<Shape> top_shapes(const std::vector<Shape>& bottoms) const override {
    for (const Shape& bottom : bottoms)
      if (bottom != bottoms[0] && !adds_)
        throw ShapeError(message("all bottoms must have one shape, got ", to_string(bottoms[0]), " and ",
                                 to_string(bottom)));
    check_channels(bottoms[0]);
    const size_t axis = canonical_axis(bottoms[0], axis_);
    Shape top(bottoms[0].begin(), bottoms[0].begin() + static_cast<int64_t>(axis));
    top.push_back(outputs_);
    for (size_t i = 0; i < kernel_.size(); ++i) {
      const int64_t padded = bottoms[0][axis + 1 + i] + 2 * pad_[i],
                    extent = dilation_[i] * (kernel_[i] - 1) + 1;
      if (padded < extent)
        throw ShapeError(message("the kernel covers ", extent, " along spatial axis ", i,
                                 ", the padded input has only ", padded, "; bottom shape is ",
                                 to_string(bottoms[0])));
      top.push_back((padded - extent) / stride_[i] + 1);
    }
    count(top);
    if (!adds_) return std::vector<Shape>(bottoms.size(), top);
    if (bottoms[1] != top)
      throw ShapeError(message("shape ", to_string(bottoms[1]), " cannot be added to ", to_string(top)));
    return {top};
  }

  std::vector<Shape> param_shapes(const std::vector<Shape>& bottoms) const override {
    Shape weights{outputs_, bottoms[0][canonical_axis(bottoms[0], axis_)] / group_};
    weights.insert(weights.end(), kernel_.begin(), kernel_.end());
    if (!bias_) return {weights};
    return {weights, {outputs_}};
  }

  void reshape(const Blobs& bottom, const Blobs& top) override {
    empty_ = bottom[0]->count() == 0;
    if (empty_) return;
    if (param_shapes({bottom[0]->shape()})[0] != params[0]->shape())
      throw ShapeError(message("the weights ", to_string(params[0]->shape()), " do not fit bottom shape ",
                               to_string(bottom[0]->shape())));
    create_passes(*bottom[0], *top[0]);
  }

  void forward(const Context& context, const Blobs& bottom, const Blobs& top) override {
    if (empty_) return;
    Scratch scratch(context, 0);
    const ConvolutionWeights weights = folds_ ? folded_weights(scratch) : plain_weights();
    float* bias = folds_ ? folded_.bias() : bias_ ? params[1]->data() : nullptr;
    void* addend = adds_ ? bottom[1]->data<void>() : nullptr;
    for (size_t i = 0; i < top.size(); ++i)
      forward_->run(context, scratch, bottom[i]->data<void>(), {weights.plain, weights.changed && i == 0},
                    bias, addend, top[i]->data<void>());
  }

  void backward(const Context& context, const Blobs& top, const std::vector<bool>& propagate_down,
                const Blobs& bottom) override {
    if (!has_backward()) throw ConfigError("a convolution fused for testing runs forward only");
    if (empty_) return;
    const Scratch scratch(context, 0);
    Blob* weights = param_propagate_down[0] ? params[0].get() : nullptr;
    Blob* bias = bias_ && param_propagate_down[1] ? params[1].get() : nullptr;
    for (size_t i = 0; i < bottom.size(); ++i) {
      if (masks_) mask(*top[i]);
      void* dy = top[i]->diff<void>();
      if (weights || bias)
        weight_gradient_->run(context, scratch, bottom[i]->data<void>(), dy, weights, bias);
      if (propagate_down[i])
        data_gradient_->run(context, scratch, dy, params[0]->data(), bottom[i]->diff<void>());
    }
  }

  bool has_backward() const override { return !folds_ && !adds_; }

  size_t private_bytes(bool /*training*/) const override {
    if (!forward_) return 0;
    return forward_->private_bytes() + folded_.bytes();
  }
  size_t scratch_bytes() const override {
    if (!forward_) return 0;
    const size_t forward = fold_bytes() + forward_->scratch_bytes();
    if (!data_gradient_) return forward;
    return std::max({forward, data_gradient_->scratch_bytes(), weight_gradient_->scratch_bytes()});
  }

 private:
  void check_channels(const Shape& bottom) const {
    const size_t axis = canonical_axis(bottom, axis_);
    if (bottom.size() - axis - 1 != kernel_.size())
      throw ShapeError(message("the kernel has ", kernel_.size(), " axes, the bottom of shape ",
                               to_string(bottom), " has ", bottom.size() - axis - 1, " spatial axes"));
    if (bottom[axis] % group_ != 0)
      throw ShapeError(message("group ", group_, " does not divide the ", bottom[axis],
                               " channels of bottom shape ", to_string(bottom)));
  }

  void create_passes(const Blob& bottom, const Blob& top) {
    for (const Blob* blob : {&bottom, &top, static_cast<const Blob*>(params[0].get())})
      describe(*blob);  // refuses what is too large, whichever kernel would compute it
    const bool backward = runs_backward && has_backward();
    const ConvolutionSpec spec{.group = group_,
                               .axis = canonical_axis(bottom.shape(), axis_),
                               .kernel = kernel_,
                               .stride = stride_,
                               .pad = pad_,
                               .dilation = dilation_,
                               .bottom = &bottom,
                               .top = &top,
                               .weights = params[0].get(),
                               .bias = bias_ || folds_,
                               .relu = relu_,
                               .addend = adds_,
                               .keeps_weights = !backward,
                               .winograd = winograd_};
    forward_ = make_forward(spec);
    data_gradient_ = backward ? make_data_gradient(spec) : nullptr;
    weight_gradient_ = backward ? make_weight_gradient(spec) : nullptr;
    fresh_.reset();
    if (folds_) folded_.create(params, bias_, folds_scale_, eps_);
  }

  ConvolutionWeights plain_weights() { return {params[0]->data(), fresh_.stale(params[0]->data_storage())}; }

  // Folded into scratch, only when something has changed: the pass keeps what it packs.
  ConvolutionWeights folded_weights(Scratch& scratch) {
    if (!folded_.stale()) return {nullptr, false};
    auto* weights = scratch.take<float>(fold_bytes());
    folded_.fold(weights);
    return {weights, true};
  }

  static void mask(Blob& top) {
    dispatch(top.dtype(), [&](auto zero) {
      using T = decltype(zero);
      mask_by_relu(top.data<T>(), top.diff<T>(), top.count());
    });
  }

  size_t fold_bytes() const { return folds_ ? scratch_size(params[0]->bytes()) : 0; }

  const int64_t outputs_, group_;
  const bool bias_, relu_, masks_, folds_, folds_scale_, winograd_, adds_;
  const float eps_;
  const int64_t axis_;
  const std::vector<int64_t> kernel_, stride_, pad_, dilation_;

  bool empty_ = false;
  std::unique_ptr<ConvolutionForward> forward_;
  std::unique_ptr<ConvolutionDataGradient> data_gradient_;
  std::unique_ptr<ConvolutionWeightGradient> weight_gradient_;
  Freshness fresh_;
  FoldedBatchNorm folded_;
};

REGISTER_LAYER("Convolution", cpu, ConvolutionLayer);

}  // namespace
}  // namespace caffe
