// What a forward of an LSTM leaves for backward, in one piece of memory on either device.
#pragma once

#include "core/scratch.hpp"
#include "math/lstm_cell.hpp"
#include "math/sequence.hpp"

namespace caffe {

// The arrays of one step; T is the type of factors of matrix products.
template <class T>
struct LstmStep {
  const float *cont, *next_cont;  // (N); that of the last step is its own next one
  float* gates;                   // (N, 4H): first what they are made of
  float *before, *cells;          // (N, H): c_{t-1} and c_t
  T *conted, *next_conted;        // (N, H): cont_t h_{t-1}, and what the next step gets
};

class LstmTrace {
 public:
  // `kept`: the arrays of all steps lie one behind the other, otherwise those of cells and hidden values are
  // overwritten by the next step.
  void create(const Sequence& sequence, DType factors, bool kept) {
    sequence_ = sequence;
    factor_bytes_ = size_of(factors);
    kept_ = kept;
  }

  size_t bytes() const { return gates_bytes() + steps_bytes(sizeof(float)) + steps_bytes(factor_bytes_); }

  template <class T>
  LstmStep<T> step(void* memory, const float* cont, int64_t t) const {
    const int64_t units = sequence_.units(), next = kept_ ? units : 0;
    const bool last = t + 1 == sequence_.steps;
    char* place = static_cast<char*>(memory);
    float* gates = at<float>(place) + t * kGates * units;
    float* before = at<float>(place += gates_bytes()) + t * next;
    T* conted = at<T>(place += steps_bytes(sizeof(float))) + t * next;
    cont += t * sequence_.items;
    return {.cont = cont,
            .next_cont = last ? cont : cont + sequence_.items,
            .gates = gates,
            .before = before,
            .cells = before + next,
            .conted = conted,
            .next_conted = conted + next};
  }

  // Of scratch for backward: the gradient of what the gates are made of (T, N, 4H), as factors, and one for
  // each unit (N, H).
  size_t gradient_bytes() const { return size(kGates * sequence_.steps * sequence_.units(), factor_bytes_); }
  size_t unit_bytes() const { return size(sequence_.units(), sizeof(float)); }

 private:
  template <class T>
  static T* at(char* place) {
    return static_cast<T*>(static_cast<void*>(place));
  }
  static size_t size(int64_t values, size_t each) { return scratch_size(static_cast<size_t>(values) * each); }

  size_t gates_bytes() const { return size(kGates * sequence_.steps * sequence_.units(), sizeof(float)); }
  // c_0 to c_T, or as many hidden values, of which the last ones are not used.
  size_t steps_bytes(size_t each) const {
    return size((kept_ ? sequence_.steps + 1 : 1) * sequence_.units(), each);
  }

  Sequence sequence_;
  size_t factor_bytes_ = 0;
  bool kept_ = false;
};

}  // namespace caffe
