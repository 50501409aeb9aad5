// The matrix products of a recurrent layer; as layers_cpp/math/recurrent_products.hpp. Here it is not known
// whether any hidden value is carried on, so all steps are multiplied.
#pragma once

#include "math/bias_gradient.hpp"
#include "math/learned_weights.hpp"
#include "math/matrix_product.hpp"
#include "math/sequence.hpp"

namespace caffe::cuda {

class RecurrentProducts {
 public:
  void create(const Sequence& sequence, int64_t sums, DType type, bool tf32, bool learns,
              const Blobs& params);

  void prepare(const Context& context, const Blobs& params);
  void start(const Context& context, size_t used, const Blobs& bottom, const Blobs& params, float* a);
  void add_step(const Context& context, size_t used, const void* conted, float* a);

  void step_back(const Context& context, size_t used, const void* da, float* d_conted);
  void learn(const Context& context, size_t used, const Blobs& bottom, const void* da, const void* conted,
             const Blobs& params, const std::vector<bool>& learns, const std::vector<bool>& propagate_down);

  size_t bytes() const { return input_weights_.bytes() + hidden_weights_.bytes(); }
  size_t scratch_bytes() const;

 private:
  using Product = std::unique_ptr<MatrixProduct>;

  void create_back(bool tf32);
  void add_static(const Context& context, size_t used, Blob& x_static, Blob& weights, float* a);
  void learn_static(const Context& context, size_t used, const void* da, Blob& x_static, Blob& weights,
                    bool learns, bool propagates);
  size_t static_bytes() const;
  uint32_t step_alignment() const;

  Sequence sequence_;
  int64_t sums_ = 0;
  DType type_ = DType::float32;
  Product input_, hidden_, static_, input_back_, hidden_back_, static_back_;
  GradientProduct learn_input_, learn_hidden_, learn_static_;
  BiasGradient bias_gradient_;
  LearnedWeights input_weights_, hidden_weights_;
  const void *input_now_ = nullptr, *hidden_now_ = nullptr;  // as the pass that is prepared wants them
};

}  // namespace caffe::cuda
