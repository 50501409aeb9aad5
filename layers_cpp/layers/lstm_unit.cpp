// LSTMUnit: one step of an LSTM without its products. From c (1, N, H), what the gates are made of (1, N,
// 4H), in the order i, f, o, g, and cont (1, N) it makes c' and h (1, N, H); formulas and gradient as in
// math/lstm_cell.hpp. Nothing is kept: backward opens the gates again.
#include <array>

#include "core/error.hpp"
#include "core/registry.hpp"
#include "core/scratch.hpp"
#include "math/lstm_cell.hpp"
#include "math/units.hpp"

namespace caffe {
namespace {

// The four gates of an item, or their gradients.
template <class Value>
struct GateRows {
  GateRows(Value* gates, int64_t item, int64_t units)
      : i(gates + item * kGates * units), f(i + units), o(f + units), g(o + units) {}

  Value *i, *f, *o, *g;
};

void require(bool holds, const char* what, const Shape& shape) {
  if (!holds) throw ShapeError(message(what, ", got ", to_string(shape)));
}

class LSTMUnitLayer : public Layer {
 public:
  explicit LSTMUnitLayer(const Args&) {}

  std::vector<Shape> top_shapes(const std::vector<Shape>& bottoms) const override {
    const Shape &c = bottoms[0], &gates = bottoms[1], &cont = bottoms[2];
    require(c.size() == 3, "c must have shape (T, N, H)", c);
    require(gates == Shape{c[0], c[1], kGates * c[2]}, "the gates must have shape (T, N, 4 H) for c", gates);
    require(cont == Shape{c[0], c[1]}, "cont must have shape (T, N) for c", cont);
    return {c, c};
  }

  void forward(const Context&, const Blobs& bottom, const Blobs& top) override {
    const int64_t units = top[0]->dim(2);
    const float *all_before = bottom[0]->data(), *all_gates = bottom[1]->data(),
                *all_cont = bottom[2]->data();
    float *all_cells = top[0]->data(), *all_hidden = top[1]->data();
    for_each_unit(bottom[2]->count(), units, [=](int64_t n, int64_t begin, int64_t end) {
      const GateRows a(all_gates, n, units);
      const float *before = all_before + n * units, cont = all_cont[n];
      float *cells = all_cells + n * units, *hidden = all_hidden + n * units;
#pragma omp simd
      for (int64_t k = begin; k < end; ++k) {
        const LstmGates gates = lstm_gates(a.i[k], a.f[k], a.o[k], a.g[k]);
        cells[k] = lstm_cell(gates, cont, before[k]);
        hidden[k] = lstm_hidden(gates, cells[k]);
      }
    });
  }

  void reshape(const Blobs& bottom, const Blobs&) override {
    unwanted_bytes_ = {scratch_size(bottom[0]->bytes()), scratch_size(bottom[1]->bytes())};
  }

  void backward(const Context& context, const Blobs& top, const std::vector<bool>& propagate_down,
                const Blobs& bottom) override {
    Scratch scratch(context, 0);  // for the gradient that is not wanted
    const auto gradient_of = [&](size_t index) {
      auto* unwanted = scratch.take<float>(unwanted_bytes_[index]);
      return propagate_down[index] ? bottom[index]->diff() : unwanted;
    };
    float *all_d_before = gradient_of(0), *all_da = gradient_of(1);
    const int64_t units = top[0]->dim(2);
    const float *all_before = bottom[0]->data(), *all_gates = bottom[1]->data(),
                *all_cont = bottom[2]->data();
    const float *all_cells = top[0]->data(), *all_d_cells = top[0]->diff(), *all_d_hidden = top[1]->diff();
    for_each_unit(bottom[2]->count(), units, [=](int64_t n, int64_t begin, int64_t end) {
      const GateRows a(all_gates, n, units);
      const GateRows da(all_da, n, units);
      const int64_t row = n * units;
      const float *before = all_before + row, *cells = all_cells + row, cont = all_cont[n];
      const float *d_cells = all_d_cells + row, *d_hidden = all_d_hidden + row;
      float* d_before = all_d_before + row;
#pragma omp simd
      for (int64_t k = begin; k < end; ++k) {
        const LstmGates gates = lstm_gates(a.i[k], a.f[k], a.o[k], a.g[k]);
        const LstmGradient gradient =
            lstm_gradient(gates, cont, before[k], cells[k], d_hidden[k], d_cells[k]);
        da.i[k] = gradient.gates.i;
        da.f[k] = gradient.gates.f;
        da.o[k] = gradient.gates.o;
        da.g[k] = gradient.gates.g;
        d_before[k] = gradient.before;
      }
    });
  }

  size_t scratch_bytes() const override {
    return runs_backward ? unwanted_bytes_[0] + unwanted_bytes_[1] : 0;
  }

 private:
  std::array<size_t, 2> unwanted_bytes_{};
};

REGISTER_LAYER("LSTMUnit", cpu, LSTMUnitLayer);

}  // namespace
}  // namespace caffe
