// math/convolution.hpp on the emulated device: the sums as they are defined, in double.
#include "math/convolution.hpp"

#include <algorithm>
#include <array>

#include "library.hpp"

namespace caffe::cuda {
namespace {

using Axes = std::array<int64_t, 3>;

// Two spatial axes are three, of which the first has one place.
Axes three_axes(const std::vector<int64_t>& values, int64_t missing) {
  Axes axes = {missing, missing, missing};
  std::copy(values.rbegin(), values.rend(), axes.rbegin());
  return axes;
}

int64_t index(const Axes& place, const Axes& size) {
  return (place[0] * size[1] + place[1]) * size[2] + place[2];
}

template <class Body>
void for_each_place(const Axes& size, Body body) {
  Axes place;
  for (place[0] = 0; place[0] < size[0]; ++place[0])
    for (place[1] = 0; place[1] < size[1]; ++place[1])
      for (place[2] = 0; place[2] < size[2]; ++place[2]) body(place);
}

struct Geometry {
  explicit Geometry(const ConvolutionSpec& spec)
      : items(spec.items),
        channels(spec.channels),
        outputs(spec.outputs),
        group(spec.group),
        in(three_axes(spec.in, 1)),
        out(three_axes(spec.out, 1)),
        kernel(three_axes(spec.kernel, 1)),
        stride(three_axes(spec.stride, 1)),
        pad(three_axes(spec.pad, 0)),
        dilation(three_axes(spec.dilation, 1)) {}

  int64_t x_size() const { return items * in[0] * in[1] * in[2] * channels; }
  int64_t y_size() const { return items * out[0] * out[1] * out[2] * outputs; }
  int64_t w_size() const { return outputs * kernel[0] * kernel[1] * kernel[2] * (channels / group); }

  // The place of the input under a tap of the kernel; false where that is padding.
  bool under(const Axes& to, const Axes& tap, Axes& from) const {
    for (size_t axis = 0; axis < 3; ++axis) {
      from[axis] = to[axis] * stride[axis] - pad[axis] + tap[axis] * dilation[axis];
      if (from[axis] < 0 || from[axis] >= in[axis]) return false;
    }
    return true;
  }

  int64_t items, channels, outputs, group;
  Axes in, out, kernel, stride, pad, dilation;
};

// Calls body(x, w, y) with the indices of the factors of each product and of the output it belongs to.
template <class Body>
void for_each_product(const Geometry& g, int64_t item, const Axes& to, const Axes& tap, const Axes& from,
                      Body body) {
  const int64_t taps = g.kernel[0] * g.kernel[1] * g.kernel[2];
  const int64_t channels = g.channels / g.group, outputs = g.outputs / g.group;
  const int64_t x = (item * g.in[0] * g.in[1] * g.in[2] + index(from, g.in)) * g.channels;
  const int64_t y = (item * g.out[0] * g.out[1] * g.out[2] + index(to, g.out)) * g.outputs;
  for (int64_t o = 0; o < g.outputs; ++o) {
    const int64_t w = (o * taps + index(tap, g.kernel)) * channels;
    for (int64_t c = 0; c < channels; ++c) body(x + o / outputs * channels + c, w + c, y + o);
  }
}

template <class Body>
void for_each_product(const Geometry& g, Body body) {
  for (int64_t item = 0; item < g.items; ++item)
    for_each_place(g.out, [&](const Axes& to) {
      for_each_place(g.kernel, [&](const Axes& tap) {
        Axes from;
        if (g.under(to, tap, from)) for_each_product(g, item, to, tap, from, body);
      });
    });
}

template <class T>
void store(const std::vector<double>& sums, void* to) {
  std::transform(sums.begin(), sums.end(), static_cast<T*>(to),
                 [](double sum) { return T(static_cast<float>(sum)); });
}

template <class T>
void forward(const ConvolutionSpec& spec, const T* x, const T* w, const float* bias, const T* addend, T* y) {
  const Geometry g(spec);
  std::vector<double> sums(static_cast<size_t>(g.y_size()));
  for_each_product(g, [&](int64_t xi, int64_t wi, int64_t yi) {
    sums[yi] += static_cast<double>(x[xi]) * static_cast<double>(w[wi]);
  });
  for (size_t i = 0; i < sums.size(); ++i) {
    if (spec.bias) sums[i] += bias[i % static_cast<size_t>(g.outputs)];
    if (spec.addend) sums[i] += static_cast<double>(addend[i]);
    if (spec.relu) sums[i] = std::max(sums[i], 0.0);
  }
  store<T>(sums, y);
}

template <class T>
void data_gradient(const ConvolutionSpec& spec, const T* dy, const T* w, T* dx) {
  const Geometry g(spec);
  std::vector<double> sums(static_cast<size_t>(g.x_size()));
  if (spec.accumulates)
    std::transform(dx, dx + sums.size(), sums.begin(), [](T value) { return static_cast<double>(value); });
  for_each_product(g, [&](int64_t xi, int64_t wi, int64_t yi) {
    sums[xi] += static_cast<double>(dy[yi]) * static_cast<double>(w[wi]);
  });
  store<T>(sums, dx);
}

template <class T>
void weight_gradient(const ConvolutionSpec& spec, const T* x, const T* dy, T* dw) {
  const Geometry g(spec);
  std::vector<double> sums(static_cast<size_t>(g.w_size()));
  for_each_product(g, [&](int64_t xi, int64_t wi, int64_t yi) {
    sums[wi] += static_cast<double>(dy[yi]) * static_cast<double>(x[xi]);
  });
  store<T>(sums, dw);
}

class EmulatedForward final : public ConvolutionForward {
 public:
  explicit EmulatedForward(const ConvolutionSpec& spec) : spec_(spec) {}

  void run(const Context& context, size_t used, const void* x, const void* w, const float* bias,
           const void* addend, void* y) override {
    queue_call(context, "convolution", used, {x, w, bias, addend, y}, [=, spec = spec_] {
      dispatch(spec.dtype, [&](auto zero) {
        using T = decltype(zero);
        forward(spec, static_cast<const T*>(x), static_cast<const T*>(w), bias, static_cast<const T*>(addend),
                static_cast<T*>(y));
      });
    });
  }

  size_t scratch_bytes() const override { return scratch_size(kLibraryScratch); }

 private:
  ConvolutionSpec spec_;
};

class EmulatedDataGradient final : public ConvolutionDataGradient {
 public:
  explicit EmulatedDataGradient(const ConvolutionSpec& spec) : spec_(spec) {}

  void run(const Context& context, size_t used, const void* dy, const void* w, void* dx) override {
    queue_call(context, "data gradient of a convolution", used, {dy, w, dx}, [=, spec = spec_] {
      dispatch(spec.dtype, [&](auto zero) {
        using T = decltype(zero);
        data_gradient(spec, static_cast<const T*>(dy), static_cast<const T*>(w), static_cast<T*>(dx));
      });
    });
  }

  size_t scratch_bytes() const override { return scratch_size(kLibraryScratch); }

 private:
  ConvolutionSpec spec_;
};

class EmulatedWeightGradient final : public ConvolutionWeightGradient {
 public:
  explicit EmulatedWeightGradient(const ConvolutionSpec& spec) : spec_(spec) {}

  void run(const Context& context, size_t used, const void* x, const void* dy, void* dw) override {
    queue_call(context, "weight gradient of a convolution", used, {x, dy, dw}, [=, spec = spec_] {
      dispatch(spec.dtype, [&](auto zero) {
        using T = decltype(zero);
        weight_gradient(spec, static_cast<const T*>(x), static_cast<const T*>(dy), static_cast<T*>(dw));
      });
    });
  }

  size_t scratch_bytes() const override { return scratch_size(kLibraryScratch); }

 private:
  ConvolutionSpec spec_;
};

}  // namespace

std::unique_ptr<ConvolutionForward> make_forward(const ConvolutionSpec& spec) {
  return std::make_unique<EmulatedForward>(spec);
}

std::unique_ptr<ConvolutionDataGradient> make_data_gradient(const ConvolutionSpec& spec) {
  return std::make_unique<EmulatedDataGradient>(spec);
}

std::unique_ptr<ConvolutionWeightGradient> make_weight_gradient(const ConvolutionSpec& spec) {
  return std::make_unique<EmulatedWeightGradient>(spec);
}

}  // namespace caffe::cuda
