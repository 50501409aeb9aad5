// Convolution over S spatial axes with groups, stride, padding and dilation (cross-correlation: no kernel
// flip).
//
//   y[n, o, p] = b[o] + sum over c in the group of o, q in the kernel of W[o, c, q] * x[n, c, p * stride -
//   pad + q * dilation] dx = the transposed convolution of dy with W;  dW += correlation of x and dy;  db +=
//   sum of dy over n and p
//
// x: (N, C, in...), W: (O, C / group, kernel...), b: (O), y: (N, O, out...), out = (in + 2 pad - extent) /
// stride + 1 rounded down, extent = dilation * (kernel - 1) + 1. Axes before `axis` count as items. Several
// bottoms of one shape share the weights. Computed by oneDNN on the blobs' own layout; weights are packed
// once per update. A ReLU may be fused: then y = max(., 0), and backward masks dy in place first. Where only
// forward runs, a BatchNorm with stored statistics and a Scale may be folded into the weights.
#include <algorithm>

#include "core/error.hpp"
#include "core/registry.hpp"
#include "math/elementwise.hpp"
#include "math/folded_batch_norm.hpp"
#include "math/packed_weights.hpp"

namespace caffe {
namespace {

using dnnl::algorithm;
using dnnl::convolution_backward_data;
using dnnl::convolution_backward_weights;
using dnnl::convolution_forward;
using dnnl::prop_kind;

class ConvolutionLayer : public Layer {
 public:
  explicit ConvolutionLayer(const Args& args)
      : outputs_(args.integer("num_output")),
        group_(args.integer("group")),
        bias_(args.flag("bias_term")),
        relu_(args.flag("relu")),
        folds_(args.flag("batch_norm")),
        folds_scale_(args.flag("scale_bias")),
        eps_(args.real("eps")),
        axis_(args.integer("axis")),
        kernel_(args.integers("kernel")),
        stride_(args.integers("stride")),
        pad_(args.integers("pad")),
        dilation_(args.integers("dilation")) {}

  std::vector<Shape> top_shapes(const std::vector<Shape>& bottoms) const override {
    for (const Shape& bottom : bottoms)
      if (bottom != bottoms[0])
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
    return std::vector<Shape>(bottoms.size(), top);
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
    type_ = bottom[0]->dtype();
    create_forward(*bottom[0], *top[0]);
    if (runs_backward && has_backward()) create_backward(*bottom[0], *top[0]);
    primitive_scratch_ =
        std::max({forward_.scratch_bytes(), forward_weights_.scratch_bytes(), backward_data_.scratch_bytes(),
                  backward_weights_.scratch_bytes(), learn_.scratch_bytes(), gradient_.scratch_bytes()});
  }

  void forward(const Context& context, const Blobs& bottom, const Blobs& top) override {
    if (empty_) return;
    void* weights = folds_ ? folded_weights(context) : forward_weights_.get(context, *params[0]);
    float* bias = folds_ ? folded_.bias() : bias_ ? params[1]->data() : nullptr;
    for (size_t i = 0; i < bottom.size(); ++i) {
      void *x = bottom[i]->data<void>(), *y = top[i]->data<void>();
      if (bias)
        forward_.execute(context, {x, weights, bias, y});
      else
        forward_.execute(context, {x, weights, y});
    }
  }

  void backward(const Context& context, const Blobs& top, const std::vector<bool>& propagate_down,
                const Blobs& bottom) override {
    if (folds_) throw ConfigError("a convolution with folded statistics runs forward only");
    if (empty_) return;
    const bool learn = param_propagate_down[0] || (bias_ && param_propagate_down[1]);
    for (size_t i = 0; i < bottom.size(); ++i) {
      if (relu_) mask(*top[i]);
      Scratch scratch(context);
      void* dy = staged(context, scratch, diff_dst_staging_, top[i]->diff<void>());
      if (learn) learn_from(context, scratch, *bottom[i], dy);
      if (propagate_down[i]) propagate(context, scratch, *bottom[i], dy);
    }
  }

  bool has_backward() const override { return !folds_; }

  size_t private_bytes(bool training) const override {
    return forward_weights_.bytes() + folded_.bytes() + (training ? backward_weights_.bytes() : 0);
  }
  size_t scratch_bytes() const override {
    return 3 * 64 + staging_bytes_ + gradient_.bytes() + bias_bytes() + fold_bytes() + primitive_scratch_;
  }

 private:
  // Where a layer's own temporaries lie in the shared scratch; what follows them is the primitives'.
  struct Scratch {
    explicit Scratch(const Context& context) : base(static_cast<char*>(context.scratch->data())) {}
    void* take(size_t bytes) {
      void* place = base + used;
      used += (bytes + 63) / 64 * 64;
      return place;
    }
    char* base;
    size_t used = 0;
  };

  // A blob in another type than the backward primitives compute in is converted into scratch first.
  struct Staging {
    bool needed = false;
    size_t bytes = 0;
    Reordering in, out;
  };

  void check_channels(const Shape& bottom) const {
    const size_t axis = canonical_axis(bottom, axis_);
    if (bottom.size() - axis - 1 != kernel_.size())
      throw ShapeError(message("the kernel has ", kernel_.size(), " axes, the bottom of shape ",
                               to_string(bottom), " has ", bottom.size() - axis - 1, " spatial axes"));
    if (bottom[axis] % group_ != 0)
      throw ShapeError(message("group ", group_, " does not divide the ", bottom[axis],
                               " channels of bottom shape ", to_string(bottom)));
  }

  // A blob as oneDNN sees it: axes before the channels are one, and there is at least one spatial axis.
  dnnl::memory::desc view(const Blob& blob, DType type) const {
    describe(blob);  // refuses what is not safe
    const size_t axis = canonical_axis(blob.shape(), axis_);
    const auto blob_strides = blob.strides();
    dnnl::memory::dims dims{count(blob.shape(), 0, axis)},
        strides{axis > 0 ? blob_strides[axis - 1] : blob.count()};
    for (size_t i = axis; i < blob.shape().size(); ++i) {
      dims.push_back(blob.dim(i));
      strides.push_back(blob_strides[i]);
    }
    if (kernel_.empty()) {
      dims.push_back(1);
      strides.push_back(1);
    }
    return {dims, onednn_type(type), strides};
  }

  dnnl::memory::dims weight_dims() const {
    dnnl::memory::dims dims = params[0]->shape();
    if (kernel_.empty()) dims.push_back(1);
    if (group_ > 1) {
      dims[0] /= group_;
      dims.insert(dims.begin(), group_);
    }
    return dims;
  }

  dnnl::memory::dims spatial(const std::vector<int64_t>& values, int64_t none, int64_t offset = 0) const {
    dnnl::memory::dims dims;
    for (const int64_t value : values) dims.push_back(value + offset);
    if (dims.empty()) dims.push_back(none);
    return dims;
  }

  void create_forward(const Blob& bottom, const Blob& top) {
    const auto src = view(bottom, type_), dst = view(top, type_);
    const auto weights = describe_any(weight_dims(), type_);
    const bool has_bias = bias_ || folds_;
    const dnnl::memory::desc bias =
        has_bias ? describe_plain({outputs_}, DType::float32) : dnnl::memory::desc();
    dnnl::primitive_attr attr = default_attr();
    if (relu_) {
      dnnl::post_ops relu;
      relu.append_eltwise(algorithm::eltwise_relu, 0.0f, 0.0f);
      attr.set_post_ops(relu);
    }
    const auto strides = spatial(stride_, 1), dilates = spatial(dilation_, 0, -1), pads = spatial(pad_, 0);
    forward_desc_ = has_bias
                        ? convolution_forward::primitive_desc(cpu_engine(), prop_kind::forward_training,
                                                              algorithm::convolution_direct, src, weights,
                                                              bias, dst, strides, dilates, pads, pads, attr)
                        : convolution_forward::primitive_desc(cpu_engine(), prop_kind::forward_training,
                                                              algorithm::convolution_direct, src, weights,
                                                              dst, strides, dilates, pads, pads, attr);
    if (has_bias)
      forward_.create(forward_desc_, {{DNNL_ARG_SRC, src},
                                      {DNNL_ARG_WEIGHTS, forward_desc_.weights_desc()},
                                      {DNNL_ARG_BIAS, bias},
                                      {DNNL_ARG_DST, dst}});
    else
      forward_.create(
          forward_desc_,
          {{DNNL_ARG_SRC, src}, {DNNL_ARG_WEIGHTS, forward_desc_.weights_desc()}, {DNNL_ARG_DST, dst}});
    forward_weights_.create(describe_plain(weight_dims(), DType::float32), forward_desc_.weights_desc(),
                            folds_);
    if (folds_) folded_.create(params, bias_, folds_scale_, eps_);
  }

  void* folded_weights(const Context& context) {
    if (folded_.stale()) {
      auto* temporary = static_cast<float*>(context.scratch->data());
      folded_.fold(temporary);
      forward_weights_.pack(context, temporary, fold_bytes());
    }
    return forward_weights_.packed();
  }

  void create_backward(const Blob& bottom, const Blob& top) {
    // oneDNN 3.2 has a defect in the bfloat16 backward of depthwise convolutions: those go through float32.
    const bool depthwise = group_ > 1 && params[0]->dim(1) == 1;
    const DType type = depthwise ? DType::float32 : type_;
    const auto src = view(bottom, type), dst = view(top, type);
    create_staging(src_staging_, view(bottom, type_), src);
    create_staging(diff_dst_staging_, view(top, type_), dst);
    staging_bytes_ = 2 * src_staging_.bytes + diff_dst_staging_.bytes;
    const auto strides = spatial(stride_, 1), dilates = spatial(dilation_, 0, -1), pads = spatial(pad_, 0);

    const convolution_backward_data::primitive_desc data_desc(
        cpu_engine(), algorithm::convolution_direct, src, describe_any(weight_dims(), type), dst, strides,
        dilates, pads, pads, forward_hint(type, src, dst), default_attr());
    backward_data_.create(
        data_desc,
        {{DNNL_ARG_DIFF_DST, dst}, {DNNL_ARG_WEIGHTS, data_desc.weights_desc()}, {DNNL_ARG_DIFF_SRC, src}});
    backward_weights_.create(describe_plain(weight_dims(), DType::float32), data_desc.weights_desc());

    const auto diff_weights = describe_any(weight_dims(), DType::float32);
    const auto diff_bias = describe_plain({outputs_}, DType::float32);
    const convolution_backward_weights::primitive_desc weights_desc(
        cpu_engine(), algorithm::convolution_direct, src, diff_weights, diff_bias, dst, strides, dilates,
        pads, pads, forward_hint(type, src, dst), default_attr());
    learn_.create(weights_desc, {{DNNL_ARG_SRC, src},
                                 {DNNL_ARG_DIFF_DST, dst},
                                 {DNNL_ARG_DIFF_WEIGHTS, weights_desc.diff_weights_desc()},
                                 {DNNL_ARG_DIFF_BIAS, diff_bias}});
    gradient_.create(weights_desc.diff_weights_desc(), describe_plain(weight_dims(), DType::float32));
  }

  // Backward descriptors want a forward one of the same types as a hint; post-ops do not matter to them.
  convolution_forward::primitive_desc forward_hint(DType type, const dnnl::memory::desc& src,
                                                   const dnnl::memory::desc& dst) const {
    return {cpu_engine(),
            prop_kind::forward_training,
            algorithm::convolution_direct,
            src,
            describe_any(weight_dims(), type),
            describe_plain({outputs_}, DType::float32),
            dst,
            spatial(stride_, 1),
            spatial(dilation_, 0, -1),
            spatial(pad_, 0),
            spatial(pad_, 0)};
  }

  static void create_staging(Staging& staging, const dnnl::memory::desc& own,
                             const dnnl::memory::desc& wanted) {
    staging.needed = own != wanted;
    staging.bytes = 0;
    if (!staging.needed) return;
    staging.in.create(own, wanted);
    staging.out.create(wanted, own);
    staging.bytes = (wanted.get_size() + 63) / 64 * 64;
  }

  void* staged(const Context& context, Scratch& scratch, Staging& staging, void* own) {
    if (!staging.needed) return own;
    void* place = scratch.take(staging.bytes);
    staging.in.execute(context, own, place, scratch.used);
    return place;
  }

  static void mask(Blob& top) {
    dispatch(top.dtype(), [&](auto zero) {
      using T = decltype(zero);
      mask_by_relu(top.data<T>(), top.diff<T>(), top.count());
    });
  }

  void learn_from(const Context& context, Scratch scratch, Blob& bottom, void* dy) {
    void* x = staged(context, scratch, src_staging_, bottom.data<void>());
    void* weights = scratch.take(gradient_.bytes());
    auto* bias = static_cast<float*>(scratch.take(bias_bytes()));
    learn_.execute(context, {x, dy, weights, bias}, scratch.used);
    if (param_propagate_down[0]) gradient_.add(context, weights, *params[0], scratch.used);
    if (bias_ && param_propagate_down[1]) add_to(params[1]->diff(), bias, outputs_);
  }

  void propagate(const Context& context, Scratch scratch, Blob& bottom, void* dy) {
    void* weights = backward_weights_.get(context, *params[0]);
    if (!src_staging_.needed) {
      backward_data_.execute(context, {dy, weights, bottom.diff<void>()}, scratch.used);
      return;
    }
    void* dx = scratch.take(src_staging_.bytes);
    backward_data_.execute(context, {dy, weights, dx}, scratch.used);
    src_staging_.out.execute(context, dx, bottom.diff<void>(), scratch.used);
  }

  size_t fold_bytes() const { return folds_ ? (params[0]->bytes() + 63) / 64 * 64 : 0; }
  size_t bias_bytes() const { return (static_cast<size_t>(outputs_) * sizeof(float) + 63) / 64 * 64; }

  const int64_t outputs_, group_;
  const bool bias_, relu_, folds_, folds_scale_;
  const float eps_;
  const int64_t axis_;
  const std::vector<int64_t> kernel_, stride_, pad_, dilation_;

  bool empty_ = false;
  DType type_ = DType::float32;
  convolution_forward::primitive_desc forward_desc_;
  Primitive forward_, backward_data_, learn_;
  PackedWeights forward_weights_, backward_weights_;
  WeightGradient gradient_;
  FoldedBatchNorm folded_;
  Staging src_staging_, diff_dst_staging_;
  size_t staging_bytes_ = 0, primitive_scratch_ = 0;
};

REGISTER_LAYER("Convolution", cpu, ConvolutionLayer);

}  // namespace
}  // namespace caffe
