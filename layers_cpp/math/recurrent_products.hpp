// The matrix products of a recurrent layer: what the gates of its units are made of,
//
//   a_t = W_x x_t + b [+ W_static x_static] + W_h (cont_t h_{t-1})
//
// for all steps at once, but for the last product. x: (T, N, I), x_static: (N, S), h: (N, H), a: (T, N, A);
// learned blobs in Caffe's order: W_x (A, I), b (A), [W_static (A, S),] W_h (A, H).
#pragma once

#include "math/matrix_product.hpp"
#include "math/sequence.hpp"

namespace caffe {

std::vector<Shape> recurrent_param_shapes(const Sequence& sequence, int64_t sums);

class RecurrentProducts {
 public:
  // `sums` is A; `type` is that of x, and of h and the gradient of a as factors.
  void create(const Sequence& sequence, int64_t sums, DType type, bool learns);

  // Forward: first the products of all steps, then, step by step, that of the hidden values, if any of them
  // are carried on. Before both prepare(), which may use all of scratch; they use
  // what begins at `used` bytes.
  void prepare(const Context& context, const Blobs& params);
  void start(const Context& context, size_t used, const Blobs& bottom, const Blobs& params, float* a);
  void add_step(const Context& context, size_t used, const float* cont, const void* conted, float* a);

  // Backward: the gradient of cont_t h_{t-1} from that of a_t, step by step; then all others from those of a,
  // of which there is one for each row of x, and the products cont_t h_{t-1} themselves (T, N, H).
  void prepare_back(const Context& context, const Blobs& params);
  void step_back(const Context& context, size_t used, const float* cont, const void* da, float* d_conted);
  void learn(const Context& context, size_t used, const Blobs& bottom, const void* da, const void* conted,
             const Blobs& params, const std::vector<bool>& learns, const std::vector<bool>& propagate_down);

  size_t bytes() const;          // of packed weights
  size_t scratch_bytes() const;  // beyond what the caller uses

 private:
  void create_back();
  // a_t += W_static x_static for all t, and what backward makes of it.
  void add_static(const Context& context, size_t used, Blob& x_static, Blob& weights, float* a);
  void learn_static(const Context& context, size_t used, const void* da, Blob& x_static, Blob& weights,
                    bool learns, bool propagates);
  size_t static_bytes() const;  // of a sum over the steps, (N, A)

  Sequence sequence_;
  int64_t sums_ = 0;
  DType type_ = DType::float32;
  WeightProduct input_, hidden_, input_back_, hidden_back_;
  MatrixProduct static_, static_back_;
  GradientProduct learn_input_, learn_hidden_, learn_static_;
  // As the pass that is prepared wants them.
  const void *input_weights_ = nullptr, *hidden_weights_ = nullptr;
};

}  // namespace caffe
