// One unit of an LSTM at one step, on both devices.
//
//   i = s(a_i), f = s(a_f), o = s(a_o), g = tanh(a_g),  s(a) = 1 / (1 + e^-a)
//   c' = cont f c + i g,  h = o tanh(c')
//
// a: what the gates are made of; c: the cell before; cont: 1 where the sequence goes on, 0 where a new one
// begins, whatever the cell before holds, NaN included.
//
// Gradient, from those of h and of c' (what the next step adds):
//
//   u = dc' + dh o (1 - tanh(c')^2)
//   da_i = u g i (1 - i),  da_f = u cont c f (1 - f),  da_o = dh tanh(c') o (1 - o),  da_g = u i (1 - g^2)
//   dc = u cont f
#pragma once

#include "math/carried.hpp"
#include "math/vector_math.hpp"

namespace caffe {

constexpr int64_t kGates = 4;  // in memory in the order i, f, o, g

struct LstmGates {
  float i, f, o, g;
};

CAFFE_HOST_DEVICE inline LstmGates lstm_gates(float i, float f, float o, float g) {
  return {vector_sigmoid(i), vector_sigmoid(f), vector_sigmoid(o), vector_tanh(g)};
}

CAFFE_HOST_DEVICE inline float lstm_cell(const LstmGates& gates, float cont, float before) {
  return carried(cont, gates.f * before) + gates.i * gates.g;
}

CAFFE_HOST_DEVICE inline float lstm_hidden(const LstmGates& gates, float cell) {
  return gates.o * vector_tanh(cell);
}

struct LstmGradient {
  LstmGates gates;  // of what the gates are made of
  float before;     // of the cell before
};

CAFFE_HOST_DEVICE inline LstmGradient lstm_gradient(const LstmGates& gates, float cont, float before,
                                                    float cell, float d_hidden, float d_cell) {
  const float squashed = vector_tanh(cell);
  const float u = d_cell + d_hidden * gates.o * (1.0f - squashed * squashed);
  return {.gates = {.i = u * gates.g * gates.i * (1.0f - gates.i),
                    .f = carried(cont, u * before * gates.f * (1.0f - gates.f)),
                    .o = d_hidden * squashed * gates.o * (1.0f - gates.o),
                    .g = u * gates.i * (1.0f - gates.g * gates.g)},
          .before = carried(cont, u * gates.f)};
}

}  // namespace caffe
