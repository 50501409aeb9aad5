// Winograd's minimal filtering with six points: 0, +-p, +-q and infinity.
//
// A correlation of six inputs with `taps` weights gives 7 - taps outputs. It is computed as
//
//   y = outputs( evaluate(g) * inputs(x) )
//
// with six products instead of (7 - taps) * taps. The same `inputs` serves every number of taps. p = 5/8 and
// q = 3/2 have exact squares and keep rounding errors at about twice those of the direct sum; the usual 1 and
// 2 give four times.
//
// References: A. Lavin, S. Gray, "Fast algorithms for convolutional neural networks", CVPR 2016;
// B. Barabasz et al., "Error analysis and improving the accuracy of Winograd convolution", ACM TOMS 46, 2020.
#pragma once

#include "math/simd.hpp"

namespace caffe::winograd {

constexpr int kPoints = 6;
constexpr float kP = 0.625f, kQ = 1.5f;
constexpr float kP2 = kP * kP, kQ2 = kQ * kQ;

struct Six {
  Floats at[kPoints];
};

// From six neighbouring inputs: coefficients of the Lagrange numerators at the six points.
inline Six inputs(const Floats* x) {
  const Floats p_even = x[4] - kQ2 * x[2], p_odd = kP * (x[3] - kQ2 * x[1]);
  const Floats q_even = x[4] - kP2 * x[2], q_odd = kQ * (x[3] - kP2 * x[1]);
  return {{(x[4] - (kP2 + kQ2) * x[2]) + (kP2 * kQ2) * x[0], p_even + p_odd, p_even - p_odd, q_even + q_odd,
           q_even - q_odd, (x[5] - (kP2 + kQ2) * x[3]) + (kP2 * kQ2) * x[1]}};
}

// The polynomial with coefficients g at +point and -point, each times `scale`.
template <int kTaps>
void evaluate_pair(const Floats* g, float point, float scale, Floats& plus, Floats& minus) {
  Floats even{}, odd{};
  float power = scale;
  for (int i = 0; i < kTaps; ++i, power *= point) (i % 2 ? odd : even) += power * g[i];
  plus = even + odd;
  minus = even - odd;
}

// From the weights: values at the six points, divided by the Lagrange denominators.
template <int kTaps>
Six evaluate(const Floats* g) {
  Six values;
  values.at[0] = g[0] * (1.0f / (kP2 * kQ2));
  evaluate_pair<kTaps>(g, kP, 0.5f / (kP2 * (kP2 - kQ2)), values.at[1], values.at[2]);
  evaluate_pair<kTaps>(g, kQ, 0.5f / (kQ2 * (kQ2 - kP2)), values.at[3], values.at[4]);
  values.at[5] = g[kTaps - 1];
  return values;
}

// From the six products: kOutputs outputs.
template <int kOutputs>
void outputs(const Floats* product, Floats* y) {
  const Floats p_sum = product[1] + product[2], p_difference = product[1] - product[2];
  const Floats q_sum = product[3] + product[4], q_difference = product[3] - product[4];
  float p_power = 1, q_power = 1;
  for (int i = 0; i < kOutputs; ++i, p_power *= kP, q_power *= kQ)
    y[i] = i % 2 ? p_power * p_difference + q_power * q_difference : p_power * p_sum + q_power * q_sum;
  y[0] += product[0];
  y[kOutputs - 1] += product[5];
}

// The two-dimensional forms: along the rows, then along the columns. `read(row, column)` gives an element,
// `write(row, column, value)` takes one. Only columns [begin, end) of the six are written, where a range is
// given.

struct Columns {
  int begin = 0, end = kPoints;
};

template <class Read, class Write>
void inputs_2d(Columns columns, Read&& read, Write&& write) {
  Floats half[kPoints][kPoints];
  for (int row = 0; row < kPoints; ++row) {
    Floats line[kPoints];
    for (int i = 0; i < kPoints; ++i) line[i] = read(row, i);
    const Six values = inputs(line);
    for (int i = 0; i < kPoints; ++i) half[i][row] = values.at[i];
  }
  for (int column = columns.begin; column < columns.end; ++column) {
    const Six values = inputs(half[column]);
    for (int i = 0; i < kPoints; ++i) write(i, column, values.at[i]);
  }
}

template <int kTaps, class Read, class Write>
void evaluate_2d(Columns columns, Read&& read, Write&& write) {
  Floats half[kPoints][kTaps];
  for (int row = 0; row < kTaps; ++row) {
    Floats line[kTaps];
    for (int i = 0; i < kTaps; ++i) line[i] = read(row, i);
    const Six values = evaluate<kTaps>(line);
    for (int i = 0; i < kPoints; ++i) half[i][row] = values.at[i];
  }
  for (int column = columns.begin; column < columns.end; ++column) {
    const Six values = evaluate<kTaps>(half[column]);
    for (int i = 0; i < kPoints; ++i) write(i, column, values.at[i]);
  }
}

template <int kOutputs, class Read, class Write>
void outputs_2d(Read&& read, Write&& write) {
  Floats half[kOutputs][kPoints];
  for (int row = 0; row < kPoints; ++row) {
    Floats line[kPoints], values[kOutputs];
    for (int i = 0; i < kPoints; ++i) line[i] = read(row, i);
    outputs<kOutputs>(line, values);
    for (int i = 0; i < kOutputs; ++i) half[i][row] = values[i];
  }
  for (int column = 0; column < kOutputs; ++column) {
    Floats values[kOutputs];
    outputs<kOutputs>(half[column], values);
    for (int i = 0; i < kOutputs; ++i) write(i, column, values[i]);
  }
}

}  // namespace caffe::winograd
