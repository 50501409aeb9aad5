#include "math/onednn_convolution.hpp"

#include "math/elementwise.hpp"
#include "math/packed_weights.hpp"

namespace caffe {
namespace {

using dnnl::algorithm;
using dnnl::convolution_backward_data;
using dnnl::convolution_backward_weights;
using dnnl::convolution_forward;
using dnnl::prop_kind;

// A blob as oneDNN sees it: axes before the channels are one, and there is at least one spatial axis.
dnnl::memory::desc view(const ConvolutionSpec& spec, const Blob& blob, DType type) {
  const auto blob_strides = blob.strides();
  dnnl::memory::dims dims{count(blob.shape(), 0, spec.axis)},
      strides{spec.axis > 0 ? blob_strides[spec.axis - 1] : blob.count()};
  for (size_t i = spec.axis; i < blob.shape().size(); ++i) {
    dims.push_back(blob.dim(i));
    strides.push_back(blob_strides[i]);
  }
  if (spec.kernel.empty()) {
    dims.push_back(1);
    strides.push_back(1);
  }
  return {dims, onednn_type(type), strides};
}

dnnl::memory::dims weight_dims(const ConvolutionSpec& spec) {
  dnnl::memory::dims dims = spec.weights->shape();
  if (spec.kernel.empty()) dims.push_back(1);
  if (spec.group > 1) {
    dims[0] /= spec.group;
    dims.insert(dims.begin(), spec.group);
  }
  return dims;
}

dnnl::memory::desc plain_weights(const ConvolutionSpec& spec) {
  return describe_plain(weight_dims(spec), DType::float32);
}

dnnl::memory::desc bias_desc(const ConvolutionSpec& spec) {
  return describe_plain({spec.weights->dim(0)}, DType::float32);
}

// One value for each spatial axis.
struct Window {
  dnnl::memory::dims strides, dilates, pads;
  explicit Window(const ConvolutionSpec& spec)
      : strides(along(spec.stride, 1)), dilates(along(spec.dilation, 0, -1)), pads(along(spec.pad, 0)) {}

  static dnnl::memory::dims along(const std::vector<int64_t>& values, int64_t none, int64_t offset = 0) {
    dnnl::memory::dims dims;
    for (const int64_t value : values) dims.push_back(value + offset);
    if (dims.empty()) dims.push_back(none);
    return dims;
  }
};

convolution_forward::primitive_desc forward_desc(const ConvolutionSpec& spec, DType type, bool bias,
                                                 const dnnl::primitive_attr& attr) {
  const auto src = view(spec, *spec.bottom, type), dst = view(spec, *spec.top, type);
  const auto weights = describe_any(weight_dims(spec), type);
  const Window window(spec);
  if (bias)
    return {cpu_engine(),
            prop_kind::forward_training,
            algorithm::convolution_direct,
            src,
            weights,
            bias_desc(spec),
            dst,
            window.strides,
            window.dilates,
            window.pads,
            window.pads,
            attr};
  return {cpu_engine(),
          prop_kind::forward_training,
          algorithm::convolution_direct,
          src,
          weights,
          dst,
          window.strides,
          window.dilates,
          window.pads,
          window.pads,
          attr};
}

// oneDNN 3.2 has a defect in the bfloat16 backward of depthwise convolutions: those go through float32.
DType backward_type(const ConvolutionSpec& spec) {
  const bool depthwise = spec.group > 1 && spec.weights->dim(1) == 1;
  return depthwise ? DType::float32 : spec.bottom->dtype();
}

// A blob in another type than the backward primitives compute in is converted into scratch first.
class Staging {
 public:
  Staging(const ConvolutionSpec& spec, const Blob& blob) {
    const auto own = view(spec, blob, blob.dtype()), wanted = view(spec, blob, backward_type(spec));
    if (own == wanted) return;
    in_.create(own, wanted);
    out_.create(wanted, own);
    bytes_ = scratch_size(wanted.get_size());
  }
  size_t bytes() const { return bytes_; }
  void* place(Scratch& scratch, void* own) const { return bytes_ ? scratch.take(bytes_) : own; }
  void read(const Context& context, const Scratch& scratch, void* own, void* place) {
    if (bytes_) in_.execute(context, own, place, scratch.used);
  }
  void write(const Context& context, const Scratch& scratch, void* place, void* own) {
    if (bytes_) out_.execute(context, place, own, scratch.used);
  }
  size_t scratch_bytes() const { return bytes_ + std::max(in_.scratch_bytes(), out_.scratch_bytes()); }

 private:
  Reordering in_, out_;
  size_t bytes_ = 0;
};

// Weights in the layout a primitive wants. Those that seldom change are packed once and kept; others are
// packed into scratch for every run, as they change with every step of a solver.
class Packing {
 public:
  Packing(const dnnl::memory::desc& plain, const dnnl::memory::desc& wanted, bool keeps)
      : keeps_(keeps), packs_(keeps || plain != wanted) {
    if (!packs_) return;
    packing_.create(plain, wanted);
    bytes_ = wanted.get_size();
    if (keeps_) packed_.reserve(bytes_);
  }
  void* get(const Context& context, Scratch& scratch, ConvolutionWeights weights) {
    if (!packs_) return weights.plain;
    void* packed = keeps_ ? packed_.data() : scratch.take(bytes_);
    if (weights.changed || !keeps_) packing_.execute(context, weights.plain, packed, scratch.used);
    return packed;
  }
  size_t kept_bytes() const { return packed_.bytes(); }
  size_t scratch_bytes() const { return packing_.scratch_bytes() + (keeps_ ? 0 : scratch_size(bytes_)); }

 private:
  const bool keeps_, packs_;
  Reordering packing_;
  Storage packed_;
  size_t bytes_ = 0;
};

dnnl::primitive_attr forward_attr(const ConvolutionSpec& spec) {
  dnnl::post_ops after;
  if (spec.addend) after.append_binary(algorithm::binary_add, view(spec, *spec.top, spec.top->dtype()));
  if (spec.relu) after.append_eltwise(algorithm::eltwise_relu, 0.0f, 0.0f);
  dnnl::primitive_attr attr = default_attr();
  attr.set_post_ops(after);
  return attr;
}

class OnednnForward : public ConvolutionForward {
 public:
  explicit OnednnForward(const ConvolutionSpec& spec)
      : OnednnForward(spec, forward_desc(spec, spec.bottom->dtype(), spec.bias, forward_attr(spec))) {}

  void run(const Context& context, Scratch scratch, void* x, ConvolutionWeights weights, float* bias,
           void* addend, void* y) override {
    void* packed = packing_.get(context, scratch, weights);
    arguments_.assign({x, packed, y});
    if (bias) arguments_.push_back(bias);
    if (addend) arguments_.push_back(addend);
    primitive_.execute(context, arguments_, scratch.used);
  }
  size_t private_bytes() const override { return packing_.kept_bytes(); }
  size_t scratch_bytes() const override { return packing_.scratch_bytes() + primitive_.scratch_bytes(); }

 private:
  OnednnForward(const ConvolutionSpec& spec, const convolution_forward::primitive_desc& desc)
      : packing_(plain_weights(spec), desc.weights_desc(), spec.keeps_weights) {
    std::vector<std::pair<int, dnnl::memory::desc>> arguments{{DNNL_ARG_SRC, desc.src_desc()},
                                                              {DNNL_ARG_WEIGHTS, desc.weights_desc()},
                                                              {DNNL_ARG_DST, desc.dst_desc()}};
    if (spec.bias) arguments.emplace_back(DNNL_ARG_BIAS, desc.bias_desc());
    if (spec.addend)
      arguments.emplace_back(DNNL_ARG_ATTR_MULTIPLE_POST_OP(0) | DNNL_ARG_SRC_1, desc.dst_desc());
    primitive_.create(desc, arguments);
  }

  Packing packing_;
  Primitive primitive_;
  std::vector<void*> arguments_;  // of the run under way: kept, so that a run allocates nothing
};

// Backward descriptors want a forward one of the same types as a hint; post-ops do not matter to them.
convolution_forward::primitive_desc hint(const ConvolutionSpec& spec) {
  return forward_desc(spec, backward_type(spec), /*bias=*/true, default_attr());
}

convolution_backward_data::primitive_desc data_gradient_desc(const ConvolutionSpec& spec) {
  const DType type = backward_type(spec);
  const Window window(spec);
  return {cpu_engine(),
          algorithm::convolution_direct,
          view(spec, *spec.bottom, type),
          describe_any(weight_dims(spec), type),
          view(spec, *spec.top, type),
          window.strides,
          window.dilates,
          window.pads,
          window.pads,
          hint(spec),
          default_attr()};
}

class OnednnDataGradient : public ConvolutionDataGradient {
 public:
  explicit OnednnDataGradient(const ConvolutionSpec& spec)
      : OnednnDataGradient(spec, data_gradient_desc(spec)) {}

  void run(const Context& context, Scratch scratch, void* dy, float* weights, void* dx) override {
    void* packed = packing_.get(context, scratch, {weights, /*changed=*/true});
    void *staged_dy = dy_.place(scratch, dy), *staged_dx = dx_.place(scratch, dx);
    dy_.read(context, scratch, dy, staged_dy);
    primitive_.execute(context, {staged_dy, packed, staged_dx}, scratch.used);
    dx_.write(context, scratch, staged_dx, dx);
  }
  size_t scratch_bytes() const override {
    return dy_.scratch_bytes() + dx_.scratch_bytes() + packing_.scratch_bytes() + primitive_.scratch_bytes();
  }

 private:
  OnednnDataGradient(const ConvolutionSpec& spec, const convolution_backward_data::primitive_desc& desc)
      : dy_(spec, *spec.top),
        dx_(spec, *spec.bottom),
        packing_(plain_weights(spec), desc.weights_desc(), /*keeps=*/false) {
    primitive_.create(desc, {{DNNL_ARG_DIFF_DST, desc.diff_dst_desc()},
                             {DNNL_ARG_WEIGHTS, desc.weights_desc()},
                             {DNNL_ARG_DIFF_SRC, desc.diff_src_desc()}});
  }

  Staging dy_, dx_;
  Packing packing_;
  Primitive primitive_;
};

convolution_backward_weights::primitive_desc weight_gradient_desc(const ConvolutionSpec& spec) {
  const DType type = backward_type(spec);
  const Window window(spec);
  return {cpu_engine(),
          algorithm::convolution_direct,
          view(spec, *spec.bottom, type),
          describe_any(weight_dims(spec), DType::float32),
          bias_desc(spec),
          view(spec, *spec.top, type),
          window.strides,
          window.dilates,
          window.pads,
          window.pads,
          hint(spec),
          default_attr()};
}

class OnednnWeightGradient : public ConvolutionWeightGradient {
 public:
  explicit OnednnWeightGradient(const ConvolutionSpec& spec)
      : OnednnWeightGradient(spec, weight_gradient_desc(spec)) {}

  void run(const Context& context, Scratch scratch, void* x, void* dy, Blob* weights, Blob* bias) override {
    void *staged_x = x_.place(scratch, x), *staged_dy = dy_.place(scratch, dy);
    void* weight_sums = scratch.take(gradient_.bytes());
    auto* bias_sums = scratch.take<float>(bias_bytes());
    x_.read(context, scratch, x, staged_x);
    dy_.read(context, scratch, dy, staged_dy);
    primitive_.execute(context, {staged_x, staged_dy, weight_sums, bias_sums}, scratch.used);
    if (weights) gradient_.add(context, weight_sums, *weights, scratch.used);
    if (bias) add_to(bias->diff(), bias_sums, outputs_);
  }
  size_t scratch_bytes() const override {
    return x_.scratch_bytes() + dy_.scratch_bytes() + scratch_size(gradient_.bytes()) +
           scratch_size(bias_bytes()) + std::max(primitive_.scratch_bytes(), gradient_.scratch_bytes());
  }

 private:
  OnednnWeightGradient(const ConvolutionSpec& spec, const convolution_backward_weights::primitive_desc& desc)
      : outputs_(spec.weights->dim(0)), x_(spec, *spec.bottom), dy_(spec, *spec.top) {
    primitive_.create(desc, {{DNNL_ARG_SRC, desc.src_desc()},
                             {DNNL_ARG_DIFF_DST, desc.diff_dst_desc()},
                             {DNNL_ARG_DIFF_WEIGHTS, desc.diff_weights_desc()},
                             {DNNL_ARG_DIFF_BIAS, desc.diff_bias_desc()}});
    gradient_.create(desc.diff_weights_desc(), plain_weights(spec));
  }
  size_t bias_bytes() const { return static_cast<size_t>(outputs_) * sizeof(float); }

  const int64_t outputs_;
  Staging x_, dy_;
  Primitive primitive_;
  WeightGradient gradient_;
};

}  // namespace

std::unique_ptr<ConvolutionForward> make_onednn_forward(const ConvolutionSpec& spec) {
  return std::make_unique<OnednnForward>(spec);
}
std::unique_ptr<ConvolutionDataGradient> make_onednn_data_gradient(const ConvolutionSpec& spec) {
  return std::make_unique<OnednnDataGradient>(spec);
}
std::unique_ptr<ConvolutionWeightGradient> make_onednn_weight_gradient(const ConvolutionSpec& spec) {
  return std::make_unique<OnednnWeightGradient>(spec);
}

}  // namespace caffe
