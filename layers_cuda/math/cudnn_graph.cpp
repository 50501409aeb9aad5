#include "math/cudnn_graph.hpp"

namespace caffe::cuda {
namespace {

using Dims = std::vector<int64_t>;

constexpr int64_t kTensorAlignment = 16;  // bytes; the widest access of cuDNN's kernels

Dims with_batch_and_channels(int64_t items, int64_t channels, const Dims& spatial) {
  Dims dims{items, channels};
  dims.insert(dims.end(), spatial.begin(), spatial.end());
  return dims;
}

// Of a tensor (N, C, spatial...) whose channels are neighbours in memory.
Dims channels_last_strides(const Dims& dims) {
  Dims strides(dims.size(), 1);
  int64_t step = dims[1];
  for (size_t axis = dims.size(); --axis > 1;) {
    strides[axis] = step;
    step *= dims[axis];
  }
  strides[0] = step;
  return strides;
}

// The names cuDNN has for the attributes of a convolution in each pass.
struct PassNames {
  cudnnBackendDescriptorType_t operation;
  cudnnBackendAttributeName_t x, w, y, window, alpha, beta;
};

PassNames names(Pass pass) {
  switch (pass) {
    case Pass::forward:
      return {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA};
    case Pass::data_gradient:
      return {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA};
    default:
      return {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA};
  }
}

class GraphBuilder {
 public:
  GraphBuilder(const ConvolutionSpec& spec, Pass pass, bool fused)
      : spec_(spec), pass_(pass), fused_(fused && has_epilogue(spec, pass)) {}

  Graph build(cudnnHandle_t handle) {
    const bool more = fused_ && pass_ == Pass::forward;
    // The addend comes before the bias: cuDNN has kernels of old for this order.
    const bool addend = more && spec_.addend, bias = more && spec_.bias, relu = more && spec_.relu;
    const Descriptor* sum = &convolve(!(addend || bias || relu));
    if (addend) sum = &add(*sum, tensor(Operand::addend, y_dims(), type()), !(bias || relu));
    if (bias) sum = &add(*sum, tensor(Operand::bias, bias_dims(), CUDNN_DATA_FLOAT), !relu);
    if (relu) clip(*sum);
    finish(handle);
    return std::move(graph_);
  }

 private:
  cudnnDataType_t type() const {
    return spec_.dtype == DType::float32 ? CUDNN_DATA_FLOAT : CUDNN_DATA_BFLOAT16;
  }
  Dims y_dims() const { return with_batch_and_channels(spec_.items, spec_.outputs, spec_.out); }
  Dims bias_dims() const { return with_batch_and_channels(1, spec_.outputs, Dims(spec_.out.size(), 1)); }

  Descriptor& part(cudnnBackendDescriptorType_t type) { return graph_.parts.emplace_back(type); }

  const Descriptor& tensor(int64_t id, const Dims& dims, cudnnDataType_t type, bool is_virtual) {
    Descriptor& tensor = part(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    tensor.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, id);
    tensor.set(CUDNN_ATTR_TENSOR_DATA_TYPE, type);
    tensor.set(CUDNN_ATTR_TENSOR_DIMENSIONS, dims);
    tensor.set(CUDNN_ATTR_TENSOR_STRIDES, channels_last_strides(dims));
    tensor.set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, kTensorAlignment);
    tensor.set(CUDNN_ATTR_TENSOR_IS_VIRTUAL, is_virtual);
    tensor.finalize();
    return tensor;
  }
  const Descriptor& tensor(Operand operand, const Dims& dims, cudnnDataType_t type) {
    return tensor(static_cast<int64_t>(operand), dims, type, /*is_virtual=*/false);
  }
  // What an operation of forward computes: y, or something that stays in registers, in float32.
  const Descriptor& result(bool is_last) {
    if (is_last) return tensor(Operand::y, y_dims(), type());
    return tensor(next_virtual_++, y_dims(), CUDNN_DATA_FLOAT, /*is_virtual=*/true);
  }

  const Descriptor& window() {
    Descriptor& window = part(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
    window.set(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, static_cast<int64_t>(spec_.in.size()));
    window.set(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_DATA_FLOAT);
    window.set(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_CROSS_CORRELATION);
    window.set(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, spec_.stride);
    window.set(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, spec_.pad);
    window.set(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, spec_.pad);
    window.set(CUDNN_ATTR_CONVOLUTION_DILATIONS, spec_.dilation);
    window.finalize();
    return window;
  }

  const Descriptor& convolve(bool is_last) {
    const Descriptor& x =
        tensor(Operand::x, with_batch_and_channels(spec_.items, spec_.channels, spec_.in), type());
    // The number of groups is not said; cuDNN divides the channels by those of the weights.
    const Descriptor& w =
        tensor(Operand::w, with_batch_and_channels(spec_.outputs, spec_.channels / spec_.group, spec_.kernel),
               type());
    const Descriptor &y = result(is_last), &window = this->window();
    const PassNames name = names(pass_);
    Descriptor& operation = part(name.operation);
    operation.set(name.x, x);
    operation.set(name.w, w);
    operation.set(name.y, y);
    operation.set(name.window, window);
    operation.set(name.alpha, 1.0f);
    operation.set(name.beta, fused_ && pass_ == Pass::data_gradient ? 1.0f : 0.0f);
    finish(operation);
    return y;
  }

  const Descriptor& add(const Descriptor& sum, const Descriptor& summand, bool is_last) {
    const Descriptor& y = result(is_last);
    Descriptor& operation = pointwise(CUDNN_POINTWISE_ADD, sum, y);
    operation.set(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, summand);
    finish(operation);
    return y;
  }
  void clip(const Descriptor& sum) {
    finish(pointwise(CUDNN_POINTWISE_RELU_FWD, sum, result(/*is_last=*/true)));
  }
  Descriptor& pointwise(cudnnPointwiseMode_t mode, const Descriptor& x, const Descriptor& y) {
    Descriptor& function = part(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
    function.set(CUDNN_ATTR_POINTWISE_MODE, mode);
    function.set(CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_DATA_FLOAT);
    function.finalize();
    Descriptor& operation = part(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    operation.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, function);
    operation.set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x);
    operation.set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, y);
    return operation;
  }

  void finish(Descriptor& operation) {
    operation.finalize();
    operations_.push_back(&operation);
  }
  void finish(cudnnHandle_t handle) {
    graph_.operations.set(CUDNN_ATTR_OPERATIONGRAPH_OPS, operations_);
    if (handle) graph_.operations.set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, handle);
    graph_.operations.finalize();
  }

  const ConvolutionSpec& spec_;
  const Pass pass_;
  const bool fused_;
  int64_t next_virtual_ = 100;  // above the operands
  std::vector<const Descriptor*> operations_;
  Graph graph_;
};

}  // namespace

Graph convolution_graph(const ConvolutionSpec& spec, Pass pass, bool fused, cudnnHandle_t handle) {
  return GraphBuilder(spec, pass, fused).build(handle);
}

}  // namespace caffe::cuda
