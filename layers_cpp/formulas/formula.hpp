// What a formula of one operand is: y = f(x), value by value, with its derivative; written once for both
// devices and all element types. It is a small struct, which is copied into kernels:
//
//   struct F {
//     explicit F(const Args& args);                  // the layer's arguments
//     static constexpr int cost = 1;                 // of forward, in comparisons or so
//     static constexpr Operand reads = Operand::y;   // of backward; may depend on the arguments
//     float forward(float x) const;
//     float backward(float value, float dy) const;   // dx; `value` is what `reads` names
//   };
//
// Neither branches nor calls what does not vectorise. A formula without derivative has no reads and no
// backward. A type whose arguments choose among formulas names them all where it is registered; each but the
// last has `static bool fits(const Args&)`, and the first that fits is taken.
#pragma once

#include "core/args.hpp"
#include "core/dtype.hpp"

namespace caffe {

// What a derivative is computed from. The planner gives away the memory of the other operand.
enum class Operand { none, x, y };

template <class Formula>
concept Differentiable = requires(const Formula formula, float value) { formula.backward(value, value); };

}  // namespace caffe
