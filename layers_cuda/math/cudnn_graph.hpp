// A convolution as a graph of cuDNN's operations.
#pragma once

#include <deque>

#include "math/convolution.hpp"
#include "math/cudnn_api.hpp"

namespace caffe::cuda {

enum class Pass { forward, data_gradient, weight_gradient };

// The arrays of a convolution: x, w and y, or the gradient of the one that the pass computes and of y. Bias
// and addend only if forward is fused with them.
enum class Operand : int64_t { x = 1, w, y, bias, addend };

struct Pointers {
  const void *x, *w, *y, *bias = nullptr, *addend = nullptr;
};

struct Graph {
  std::deque<Descriptor> parts;  // tensors and operations
  Descriptor operations{CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR};
};

// Whether the pass has more to do than the products.
inline bool has_epilogue(const ConvolutionSpec& spec, Pass pass) {
  if (pass == Pass::forward) return spec.bias || spec.addend || spec.relu;
  return pass == Pass::data_gradient && spec.accumulates;
}

// It does all of it if `fused`, else the products only. The handle is that of the device, or null if there is
// none and the graph is only planned.
Graph convolution_graph(const ConvolutionSpec& spec, Pass pass, bool fused, cudnnHandle_t handle);

}  // namespace caffe::cuda
