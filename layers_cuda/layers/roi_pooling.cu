// ROIPooling on the GPU; formula and numbers of places as in layers_cpp/layers/roi_pooling.cpp. A thread
// makes 16 bytes of y, or one value where channels do not fit; a plain map is one of single channels.
//
// Backward gathers: a thread makes as much of dx and looks at all boxes in their order, so that the same bits
// come out in every run. The threads of a warp have the same place, or neighbours: they leave out a box
// together.
#include <algorithm>

#include "core/complain.hpp"
#include "core/cuda_layer.hpp"
#include "core/division.hpp"
#include "core/pack.hpp"
#include "math/regions.hpp"
#include "math/taken.hpp"

namespace caffe::cuda {
namespace {

constexpr int kThreads = 128;

struct Geometry {
  int boxes = 0, maps = 0, planes = 1, channels = 0, height = 0, width = 0;
  BoxRule rule;
  Divisor by_packs{}, by_planes{}, by_width{}, by_height{}, by_cells_w{}, by_cells_h{};

  bool operator==(const Geometry&) const = default;
  __device__ int in_offset(int map, int plane, int row, int column) const {
    return (((map * planes + plane) * height + row) * width + column) * channels;
  }
  __device__ int out_offset(int box, int plane, int i, int j) const {
    return (((box * planes + plane) * rule.cells_h + i) * rule.cells_w + j) * channels;
  }
};

// A thread's box or map, plane, cell or place, and first channel.
struct Spot {
  int n, plane, y, x, c;
};

template <int kCount>
__device__ Spot spot_of(uint32_t item, const Divisor& packs, const Divisor& width, const Divisor& height,
                        const Divisor& planes) {
  Spot spot;
  spot.c = static_cast<int>(packs.split(item)) * kCount;
  spot.x = static_cast<int>(width.split(item));
  spot.y = static_cast<int>(height.split(item));
  spot.plane = static_cast<int>(planes.split(item));
  spot.n = static_cast<int>(item);
  return spot;
}

// y, taken: one of them may be null
template <int kCount, class T, class Number>
__global__ void roi_pooling_forward_kernel(Geometry g, uint32_t items, const float* boxes, const T* x, T* y,
                                           Number* taken, Desk desk) {
  // boxes: (g.boxes, 5), x: (maps, planes, height, width, channels), y, taken: (boxes, planes, cells,
  // channels)
  const uint32_t item = blockIdx.x * kThreads + threadIdx.x;
  if (item >= items) return;
  const Spot to = spot_of<kCount>(item, g.by_packs, g.by_cells_w, g.by_cells_h, g.by_planes);
  const float* values = boxes + to.n * kBoxValues;
  const BoxCells box = box_cells(values, g.maps, g.rule);
  PlaceRange rows = box.h.places(to.y, g.height);
  const PlaceRange columns = box.w.places(to.x, g.width);
  if (box.map < 0) {
    desk.complain(1, to.n, g.maps, values[0]);
    rows = {0, 0};
  }
  const float start = rows.empty() || columns.empty() ? 0.0f : lowest<T>();
  float best[kCount];
  Pack<Number, kCount> places;
#pragma unroll
  for (int k = 0; k < kCount; ++k) {
    best[k] = start;
    places.at[k] = kNone<Number>;
  }
  for (int row = rows.begin; row < rows.end; ++row)
    for (int column = columns.begin; column < columns.end; ++column) {
      const auto from = load_pack<T, kCount>(x + g.in_offset(box.map, to.plane, row, column) + to.c);
#pragma unroll
      for (int k = 0; k < kCount; ++k) {
        const float value = from.at[k];
        if (!(value > best[k])) continue;
        best[k] = value;
        places.at[k] = static_cast<Number>(row * g.width + column);
      }
    }
  const int offset = g.out_offset(to.n, to.plane, to.y, to.x) + to.c;
  if (taken) store_pack(taken + offset, places);
  if (!y) return;
  Pack<T, kCount> result;
#pragma unroll
  for (int k = 0; k < kCount; ++k) result.at[k] = best[k];
  store_pack(y + offset, result);
}

// Adds what the cells of a box that have the place give to it.
template <int kCount, class T, class Number>
__device__ void add_gradients(const Geometry& g, int number, const BoxCells& box, const Spot& to, const T* dy,
                              const Number* taken, float (&sums)[kCount]) {
  const PlaceRange rows = box.h.cells_near(to.y, g.rule.cells_h);
  const PlaceRange columns = box.w.cells_near(to.x, g.rule.cells_w);
  const auto place = static_cast<Number>(to.y * g.width + to.x);
  for (int i = rows.begin; i < rows.end; ++i) {
    if (!box.h.places(i, g.height).contains(to.y)) continue;
    for (int j = columns.begin; j < columns.end; ++j) {
      if (!box.w.places(j, g.width).contains(to.x)) continue;
      const int offset = g.out_offset(number, to.plane, i, j) + to.c;
      const auto took = load_pack<Number, kCount>(taken + offset);
      const auto from = load_pack<T, kCount>(dy + offset);
#pragma unroll
      for (int k = 0; k < kCount; ++k) sums[k] += took.at[k] == place ? static_cast<float>(from.at[k]) : 0.0f;
    }
  }
}

template <int kCount, class T, class Number>
__global__ void roi_pooling_backward_kernel(Geometry g, uint32_t items, const float* boxes, const T* dy,
                                            const Number* taken, T* dx) {
  // boxes: (g.boxes, 5), dx: (maps, planes, height, width, channels), dy, taken: (boxes, planes, cells,
  // channels)
  const uint32_t item = blockIdx.x * kThreads + threadIdx.x;
  if (item >= items) return;
  const Spot to = spot_of<kCount>(item, g.by_packs, g.by_width, g.by_height, g.by_planes);
  float sums[kCount] = {};
  for (int number = 0; number < g.boxes; ++number) {
    const float* box = boxes + number * kBoxValues;
    if (index_of(box[0], g.maps) == to.n)
      add_gradients(g, number, box_cells(box, g.maps, g.rule), to, dy, taken, sums);
  }
  Pack<T, kCount> result;
#pragma unroll
  for (int k = 0; k < kCount; ++k) result.at[k] = sums[k];
  store_pack(dx + g.in_offset(to.n, to.plane, to.y, to.x) + to.c, result);
}

class ROIPoolingLayer : public CudaLayer {
 public:
  explicit ROIPoolingLayer(const Args& args)
      : CudaLayer("ROIPooling", args),
        cells_(args.integers("pooled")),
        scale_(args.real("spatial_scale")),
        pad_(args.real("pad_ratio")) {}

  void reshape(const Blobs& bottom, const Blobs& top) override {
    const bool plain = top[0]->layout() == Layout::plain;
    const Shape& maps = bottom[0]->shape();
    const auto divisor = [](int64_t value) {
      return Divisor(static_cast<uint32_t>(std::max<int64_t>(1, value)));
    };
    const Geometry before = geometry_;
    geometry_ = {.boxes = static_cast<int>(bottom[1]->dim(0)),
                 .maps = static_cast<int>(maps[0]),
                 .planes = static_cast<int>(plain ? maps[1] : 1),
                 .channels = static_cast<int>(plain ? 1 : maps[1]),
                 .height = static_cast<int>(maps[2]),
                 .width = static_cast<int>(maps[3]),
                 .rule = {static_cast<int>(cells_[0]), static_cast<int>(cells_[1]), scale_, pad_},
                 .by_planes = divisor(plain ? maps[1] : 1),
                 .by_width = divisor(maps[3]),
                 .by_height = divisor(maps[2]),
                 .by_cells_w = divisor(cells_[1]),
                 .by_cells_h = divisor(cells_[0])};
    outputs_ = top[0]->count();
    keeps_ = runs_backward;
    kept_ = kept_ && geometry_ == before;
    taken_.reserve(keeps_ ? static_cast<size_t>(outputs_) * number_bytes() : 0);
  }

  void forward(const Context& context, const Blobs& bottom, const Blobs& top) override {
    with_types(*top[0], [&](auto zero, auto number) {
      using T = decltype(zero);
      auto* taken = keeps_ ? static_cast<decltype(number)*>(taken_.overwrite()) : nullptr;
      queue_forward(context, bottom, top[0]->data<T>(), taken);
    });
    kept_ = keeps_;
  }

  void backward(const Context& context, const Blobs& top, const std::vector<bool>& propagate_down,
                const Blobs& bottom) override {
    if (propagate_down[1]) throw ConfigError("ROIPooling has no gradient of its boxes");
    if (!propagate_down[0]) return;
    with_types(*top[0], [&](auto zero, auto number) {
      using T = decltype(zero);
      using Number = decltype(number);
      auto* taken = static_cast<Number*>(taken_.data());
      if (!kept_) queue_forward(context, bottom, static_cast<T*>(nullptr), taken);
      const T* dy = top[0]->diff<T>();
      T* dx = bottom[0]->diff<T>();
      with_pack<T>(
          [&](auto pack) {
            queue(context, "roi_pooling_backward",
                  roi_pooling_backward_kernel<decltype(pack)::value, T, Number>, bottom[0]->count(), pack,
                  bottom[1]->data(), dy, static_cast<const Number*>(taken), dx);
          },
          dy, dx);
    });
  }

 private:
  template <class T, class Number>
  void queue_forward(const Context& context, const Blobs& bottom, T* y, Number* taken) {
    const T* x = bottom[0]->data<T>();
    with_pack<T>(
        [&](auto pack) {
          queue(context, "roi_pooling_forward", roi_pooling_forward_kernel<decltype(pack)::value, T, Number>,
                outputs_, pack, bottom[1]->data(), x, y, taken, Desk(context));
        },
        x, y);
  }

  // Calls body(constant) with the number of channels that a thread treats at once.
  template <class T, class Body, class... Pointers>
  void with_pack(Body&& body, const Pointers*... pointers) const {
    constexpr int kPack = 16 / sizeof(T);
    if (geometry_.channels % kPack == 0 && packable(pointers...))
      body(std::integral_constant<int, kPack>());
    else
      body(std::integral_constant<int, 1>());
  }

  // Queues a kernel with a thread for each pack of `count` elements.
  template <class Kernel, class... Arguments>
  void queue(const Context& context, const char* name, Kernel kernel, int64_t count, int pack,
             Arguments... arguments) {
    Geometry g = geometry_;
    g.by_packs = Divisor(static_cast<uint32_t>(std::max(1, g.channels / pack)));
    launch(context, name, grid_for(count / pack, kThreads), kernel, g, count / pack, arguments...);
  }

  // Calls body(T{}, Number{}) with the types of the blob's elements and of the places kept.
  template <class Body>
  void with_types(const Blob& blob, Body&& body) const {
    dispatch(blob.dtype(), [&](auto zero) {
      if (number_bytes() == 2)
        body(zero, uint16_t{});
      else
        body(zero, uint32_t{});
    });
  }
  size_t number_bytes() const {
    return int64_t{geometry_.height} * geometry_.width <= kNone<uint16_t> ? 2 : 4;
  }

  const std::vector<int64_t> cells_;
  const float scale_, pad_;
  Geometry geometry_;
  int64_t outputs_ = 0;
  bool keeps_ = false;  // forward notes which places are taken
  bool kept_ = false;   // the last one did
  Owned taken_{storages, Device::cuda};
};

REGISTER_LAYER("ROIPooling", cuda, ROIPoolingLayer);

}  // namespace
}  // namespace caffe::cuda
