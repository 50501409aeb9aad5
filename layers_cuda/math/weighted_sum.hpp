// y = max(sum_i c_i x_i, floor) over any number of arrays, in one pass over memory. NaN passes through.
#pragma once

#include <cmath>
#include <vector>

#include "math/array_list.hpp"
#include "math/pack_walk.hpp"

namespace caffe::cuda {

// y, and each of x: (count).
template <class T, int kMost>
__global__ void weighted_sum_kernel(PackWalk walk, ArrayList<const T, kMost> x, Weights<kMost> c, float floor,
                                    T* y) {
  for_own_pack<T>(walk, [&](int64_t begin, auto size) {
    constexpr int kSize = size;
    float sum[kSize];
    const auto first = load_pack<T, kSize>(x.at[0] + begin);
#pragma unroll
    for (int i = 0; i < kSize; ++i) sum[i] = c.at[0] * first.at[i];
#pragma unroll
    for (int term = 1; term < x.length(); ++term) {
      const auto next = load_pack<T, kSize>(x.at[term] + begin);
#pragma unroll
      for (int i = 0; i < kSize; ++i) sum[i] += c.at[term] * next.at[i];
    }
    Pack<T, kSize> result;
#pragma unroll
    for (int i = 0; i < kSize; ++i) result.at[i] = sum[i] < floor ? floor : sum[i];
    store_pack(y + begin, result);
  });
}

// Needs at least one term; y may be the first x, but must not overlap any other. More terms than one launch
// can take are added in several passes, of which the later ones take y for their first term.
template <class T>
void weighted_sum(const Context& context, const char* name, const std::vector<const T*>& x,
                  const std::vector<float>& c, T* y, int64_t count, float floor = -INFINITY) {
  for (size_t next = 0; next < x.size();) {
    ArrayList<const T> terms;
    Weights<> weights;
    const auto add = [&](const T* term, float weight) {
      weights.at[terms.count] = weight;
      terms.add(term);
    };
    if (next > 0) add(y, 1.0f);
    for (; next < x.size() && !terms.full(); ++next) add(x[next], c[next]);
    const PackWalk walk = pack_walk<T>(count, terms.packable() && packable(y));
    const float floor_now = next == x.size() ? floor : -INFINITY;
    with_length(terms, [&](auto most) {
      constexpr int kMost = most;
      launch(context, name, grid_for<T>(walk), weighted_sum_kernel<T, kMost>, walk,
             terms.template shortened<kMost>(), weights.shortened<kMost>(), floor_now, y);
    });
  }
}

}  // namespace caffe::cuda
