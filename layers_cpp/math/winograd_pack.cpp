// Winograd's algorithm: kernels to the 36 products' domain, cut into panels.
#include "core/parallel.hpp"
#include "math/winograd_tiles.hpp"

namespace caffe {
namespace {

using namespace winograd;

// Transforms the kernels of lanes x channels. Element (lane, channel, tap) of the plain weights lies at
// lane * lane_stride + channel * channel_stride + tap, and taps are read backwards where kTurned.
template <int kTaps, bool kTurned>
void pack_group(const WinogradShape& s, const float* weights, int64_t lane_stride, int64_t channel_stride,
                float* packed) {
  constexpr int kArea = kTaps * kTaps;
  const int64_t channels = s.channels / s.groups, outputs = s.outputs / s.groups;
  const int64_t matrix = channels * round_up(outputs, kLanes);
  const int64_t vectors = (outputs + kLanes - 1) / kLanes;
  parallel_for(channels * vectors, 64, [&](int64_t begin, int64_t end, int) {
    for (int64_t index = begin; index < end; ++index) {
      const int64_t start = index / channels * kLanes, channel = index % channels;
      Floats taps[kArea] = {};
      const int64_t lanes = std::min<int64_t>(kLanes, outputs - start);
      for (int64_t lane = 0; lane < lanes; ++lane) {
        const float* from = weights + (start + lane) * lane_stride + channel * channel_stride;
        for (int i = 0; i < kArea; ++i) taps[i][lane] = from[kTurned ? kArea - 1 - i : i];
      }
      const Panel panel = panel_of(s, start);
      float* to = packed + panel.offset + channel * panel.stride;
      evaluate_2d<kTaps>(
          {}, [&](int i, int j) { return taps[i * kTaps + j]; },
          [&](int i, int j, Floats value) { store_raw(value, to + (j * kPoints + i) * matrix, kAllLanes); });
    }
  });
}

template <bool kTurned>
void pack(const WinogradShape& s, const float* weights, float* packed) {
  const int64_t channels = s.channels / s.groups, outputs = s.outputs / s.groups, area = s.kernel * s.kernel;
  // Turned, the lanes are the channels of the forward convolution.
  const int64_t lane_stride = kTurned ? area : channels * area,
                channel_stride = kTurned ? outputs * area : area;
  for (int64_t group = 0; group < s.groups; ++group) {
    const float* from = weights + group * channels * outputs * area;
    float* to = packed + group * group_floats(s);
    if (s.kernel == 3)
      pack_group<3, kTurned>(s, from, lane_stride, channel_stride, to);
    else
      pack_group<5, kTurned>(s, from, lane_stride, channel_stride, to);
  }
}

}  // namespace

int64_t winograd_packed_floats(const WinogradShape& shape) { return shape.groups * group_floats(shape); }

void winograd_pack(const WinogradShape& shape, const float* weights, float* packed) {
  pack<false>(shape, weights, packed);
}
void winograd_pack_turned(const WinogradShape& shape, const float* weights, float* packed) {
  pack<true>(shape, weights, packed);
}

}  // namespace caffe
