// Splits a range over the OpenMP threads. The split depends on nothing but the range and the number of
// threads, so a run repeats its bits at the same thread count.
#pragma once

#include <omp.h>

#include <algorithm>
#include <cstdint>

namespace caffe {

// Fixed at the first call: buffers are laid out for this many, whoever changes OpenMP's own number later.
inline int max_threads() {
  static const int threads = omp_get_max_threads();
  return threads;
}

// Calls body(begin, end, thread) on disjoint pieces of [0, count). Pieces have at least `grain` items: below
// that a thread costs more than it saves. Not to be nested.
template <class Body>
void parallel_for(int64_t count, int64_t grain, Body&& body) {
  const int64_t wanted = std::max<int64_t>(1, count / std::max<int64_t>(1, grain));
  const int threads = static_cast<int>(std::min<int64_t>(max_threads(), wanted));
  if (threads == 1) {
    if (count > 0) body(int64_t{0}, count, 0);
    return;
  }
#pragma omp parallel num_threads(threads)
  {
    const int thread = omp_get_thread_num();
    const int64_t begin = count * thread / threads;
    const int64_t end = count * (thread + 1) / threads;
    if (begin < end) body(begin, end, thread);
  }
}

constexpr int64_t kElementwiseGrain = 16384;  // elements of cheap arithmetic worth a thread

}  // namespace caffe
