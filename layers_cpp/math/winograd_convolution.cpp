#include "math/winograd_convolution.hpp"

#include <algorithm>
#include <optional>

#include "core/dtype.hpp"
#include "math/elementwise.hpp"
#include "math/winograd.hpp"

namespace caffe {
namespace {

bool all_are(const std::vector<int64_t>& values, int64_t wanted) {
  return std::all_of(values.begin(), values.end(), [&](int64_t value) { return value == wanted; });
}

// Whether the algorithm can compute this convolution at all.
bool applies(const ConvolutionSpec& spec) {
  const auto& kernel = spec.kernel;
  return spec.winograd && spec.axis == 1 && kernel.size() == 2 && kernel[0] == kernel[1] &&
         (kernel[0] == 3 || kernel[0] == 5) && all_are(spec.stride, 1) && all_are(spec.dilation, 1) &&
         std::max(spec.pad[0], spec.pad[1]) < kernel[0] && spec.bottom->layout() == Layout::channels_last;
}

enum class Pass { forward, data_gradient, weight_gradient };

// Multiplications of the direct sum for one of this algorithm: 4 for a kernel of 3, less where tiles stick
// out.
double reduction(const WinogradShape& shape) {
  const int64_t direct = shape.images * shape.out_height * shape.out_width * shape.kernel * shape.kernel;
  return static_cast<double>(direct) / static_cast<double>(36 * shape.tiles());
}

// Measured on two cores with AVX-512 against oneDNN's direct kernels. Few channels leave most of the work to
// the transforms, few tiles leave it to packing the weights or, where those are kept, to reading them.
// bfloat16 multiplies twice as fast directly, but not here, where all arithmetic is float32.
bool pays(const WinogradShape& shape, const ConvolutionSpec& spec, Pass pass) {
  const int64_t channels = std::min(shape.channels, shape.outputs) / shape.groups;
  if (spec.bottom->dtype() == DType::bfloat16)
    return shape.kernel == 3 && channels >= 32 && shape.tiles() >= 256 && reduction(shape) >= 3.5;
  if (shape.kernel == 5 && channels < 32)
    return pass == Pass::forward && channels >= 16 && shape.tiles() >= 1024;
  if (shape.kernel == 5) return shape.tiles() >= 128;
  return channels >= 16 && shape.tiles() >= (spec.keeps_weights ? 16 : 32);
}

std::optional<WinogradShape> shape_of(const ConvolutionSpec& spec, Pass pass) {
  if (!applies(spec)) return std::nullopt;
  const Blob &x = *spec.bottom, &y = *spec.top;
  const WinogradShape shape{x.dim(0), spec.group, spec.kernel[0], x.dim(1),    x.dim(2),   x.dim(3),
                            y.dim(1), y.dim(2),   y.dim(3),       spec.pad[0], spec.pad[1]};
  if (!pays(shape, spec, pass)) return std::nullopt;
  return shape;
}

size_t packed_bytes(const WinogradShape& shape) {
  return static_cast<size_t>(winograd_packed_floats(shape)) * sizeof(float);
}

class WinogradForward : public ConvolutionForward {
 public:
  WinogradForward(const WinogradShape& shape, const ConvolutionSpec& spec)
      : shape_(shape), type_(spec.bottom->dtype()), relu_(spec.relu), keeps_(spec.keeps_weights) {
    if (keeps_) packed_.reserve(packed_bytes(shape_));
  }

  void run(const Context&, Scratch scratch, void* x, ConvolutionWeights weights, float* bias, void* addend,
           void* y) override {
    auto* packed = keeps_ ? static_cast<float*>(packed_.data()) : scratch.take<float>(packed_bytes(shape_));
    if (weights.changed || !keeps_) winograd_pack(shape_, weights.plain, packed);
    dispatch(type_, [&](auto zero) {
      using T = decltype(zero);
      winograd_convolve<T>(shape_, static_cast<const T*>(x), packed,
                           {bias, static_cast<const T*>(addend), relu_}, static_cast<T*>(y), scratch.take(0));
    });
  }
  size_t private_bytes() const override { return packed_.bytes(); }
  size_t scratch_bytes() const override {
    return (keeps_ ? 0 : scratch_size(packed_bytes(shape_))) + winograd_convolve_scratch_bytes(shape_);
  }

 private:
  const WinogradShape shape_;
  const DType type_;
  const bool relu_, keeps_;
  Storage packed_;
};

class WinogradDataGradient : public ConvolutionDataGradient {
 public:
  WinogradDataGradient(const WinogradShape& turned, const ConvolutionSpec& spec)
      : turned_(turned), type_(spec.bottom->dtype()) {}

  void run(const Context&, Scratch scratch, void* dy, float* weights, void* dx) override {
    auto* packed = scratch.take<float>(packed_bytes(turned_));
    winograd_pack_turned(turned_, weights, packed);
    dispatch(type_, [&](auto zero) {
      using T = decltype(zero);
      winograd_convolve<T>(turned_, static_cast<const T*>(dy), packed, {}, static_cast<T*>(dx),
                           scratch.take(0));
    });
  }
  size_t scratch_bytes() const override {
    return scratch_size(packed_bytes(turned_)) + winograd_convolve_scratch_bytes(turned_);
  }

 private:
  const WinogradShape turned_;
  const DType type_;
};

class WinogradWeightGradient : public ConvolutionWeightGradient {
 public:
  WinogradWeightGradient(const WinogradShape& shape, const ConvolutionSpec& spec)
      : shape_(shape), type_(spec.bottom->dtype()) {}

  void run(const Context&, Scratch scratch, void* x, void* dy, Blob* weights, Blob* bias) override {
    Storage* diff = weights ? &weights->diff_storage() : nullptr;
    const bool add = diff && !diff->zero();
    auto* dw = diff ? static_cast<float*>(add ? diff->data() : diff->overwrite())
                    : scratch.take<float>(weight_bytes());
    auto* db = bias ? scratch.take<float>(bias_bytes()) : nullptr;
    dispatch(type_, [&](auto zero) {
      using T = decltype(zero);
      winograd_learn(shape_, static_cast<const T*>(x), static_cast<const T*>(dy), dw, add, db,
                     scratch.take(0));
    });
    if (bias) add_to(bias->diff(), db, shape_.outputs);
  }
  size_t scratch_bytes() const override {
    return scratch_size(weight_bytes()) + scratch_size(bias_bytes()) + winograd_learn_scratch_bytes(shape_);
  }

 private:
  size_t bias_bytes() const { return static_cast<size_t>(shape_.outputs) * sizeof(float); }
  size_t weight_bytes() const {
    return static_cast<size_t>(shape_.outputs * (shape_.channels / shape_.groups) * shape_.kernel *
                               shape_.kernel) *
           sizeof(float);
  }

  const WinogradShape shape_;
  const DType type_;
};

}  // namespace

std::unique_ptr<ConvolutionForward> make_winograd_forward(const ConvolutionSpec& spec) {
  const auto shape = shape_of(spec, Pass::forward);
  return shape ? std::make_unique<WinogradForward>(*shape, spec) : nullptr;
}

std::unique_ptr<ConvolutionDataGradient> make_winograd_data_gradient(const ConvolutionSpec& spec) {
  const auto shape = shape_of(spec, Pass::data_gradient);
  return shape ? std::make_unique<WinogradDataGradient>(shape->turned(), spec) : nullptr;
}

std::unique_ptr<ConvolutionWeightGradient> make_winograd_weight_gradient(const ConvolutionSpec& spec) {
  const auto shape = shape_of(spec, Pass::weight_gradient);
  return shape ? std::make_unique<WinogradWeightGradient>(*shape, spec) : nullptr;
}

}  // namespace caffe
