// ROIPooling: the maximum of each cell of a grid laid over boxes (R, 5) on maps x (N, C, H, W).
//
//   y[r, c, i, j] = first largest of x[map of r, c, places of cell (i, j) of r]
//
// math/regions.hpp says which places these are. An empty cell gives 0, one without a value above -FLT_MAX
// gives that; neither has a gradient. A box on a map that does not exist is an error.
//
// Gradient: dy goes to the place that was taken; boxes overlap, so it adds up there, box by box in their
// order: a thread has some channels of one map to itself, and adds them up in scratch. Which places were
// taken is kept, in 2 bytes where they can be numbered so; a forward that no backward was to follow keeps
// nothing, and backward finds the maxima again. Channels-last maps are read by vectors of channels, a plain
// map as one of a single channel.
#include "core/error.hpp"
#include "core/parallel.hpp"
#include "core/registry.hpp"
#include "math/regions.hpp"
#include "math/simd.hpp"
#include "math/taken.hpp"

namespace caffe {
namespace {

struct Geometry {
  int64_t boxes = 0, maps = 0;
  int64_t planes = 1, channels = 0;  // plain: a map is so many planes of a single channel
  int height = 0, width = 0;
  BoxRule rule;

  bool operator==(const Geometry&) const = default;
  int64_t places() const { return int64_t{height} * width; }
  int64_t cells() const { return int64_t{rule.cells_h} * rule.cells_w; }
  int64_t items() const { return boxes * planes * cells(); }
  // Of the first channel of a plane, in the maps; that of item i in y is i * channels.
  int64_t plane_offset(int64_t map, int64_t plane) const {
    return (map * planes + plane) * places() * channels;
  }
};

// Calls body(c, vectors, lanes) for groups of channels; those of a plain map are known to be one.
template <class Body>
void for_each_channels(int64_t channels, Body&& body) {
  using One = std::integral_constant<int, 1>;
  if (channels == 1)
    body(int64_t{0}, One{}, One{});
  else
    for_each_group(channels, body);
}

// Writes the maxima to y and the places taken to `taken`; either may be null.
template <class T, class Number>
void max_forward(const Geometry& geometry, const std::vector<BoxCells>& boxes, const T* x, T* y,
                 Number* taken) {
  const int64_t cost = geometry.channels * (1 + geometry.places() / geometry.cells());
  parallel_for(geometry.items(), kElementwiseGrain / cost + 1, [&](int64_t begin, int64_t end, int) {
    const Geometry g = geometry;  // a copy that no store can change, so that it stays in registers
    for (int64_t item = begin; item < end; ++item) {
      const int64_t cell = item % g.cells(), plane = item / g.cells() % g.planes;
      const BoxCells& box = boxes[item / g.cells() / g.planes];
      const PlaceRange rows = box.h.places(static_cast<int>(cell / g.rule.cells_w), g.height);
      const PlaceRange columns = box.w.places(static_cast<int>(cell % g.rule.cells_w), g.width);
      const float start = rows.empty() || columns.empty() ? 0.0f : lowest<T>();
      const T* map = x + g.plane_offset(box.map, plane);
      for_each_channels(g.channels, [&](int64_t c, auto vectors, auto lanes) {
        Floats best[vectors];
        Ints place_of_best[vectors];
        for (int v = 0; v < vectors; ++v) {
          best[v] = broadcast(start);
          place_of_best[v] = broadcast(static_cast<int32_t>(kNone<Number>));
        }
        for (int row = rows.begin; row < rows.end; ++row)
          for (int column = columns.begin; column < columns.end; ++column) {
            const int32_t place = row * g.width + column;
            const T* from = map + place * g.channels + c;
            for (int v = 0; v < vectors; ++v) {
              const Floats values = load(from + v * kLanes, lanes);
              const Ints larger = values > best[v];
              best[v] = larger ? values : best[v];
              place_of_best[v] = larger ? broadcast(place) : place_of_best[v];
            }
          }
        const int64_t to = item * g.channels + c;
        for (int v = 0; v < vectors; ++v) {
          if (y) store(best[v], y + to + v * kLanes, lanes);
          if (taken) store(place_of_best[v], taken + to + v * kLanes, lanes);
        }
      });
    }
  });
}

constexpr int64_t kBlock = 16;  // channels that a thread adds up together

// sums (places, size): what the boxes on a map give to `size` channels of one of its planes, from `channel`
// on.
template <class T, class Number>
void add_gradients(const Geometry& g, const std::vector<BoxCells>& boxes, int64_t map, int64_t plane,
                   int64_t channel, int64_t size, const T* dy, const Number* taken, float* sums) {
  std::fill_n(sums, g.places() * size, 0.0f);
  for (int64_t box = 0; box < g.boxes; ++box) {
    if (boxes[box].map != map) continue;
    const int64_t first = (box * g.planes + plane) * g.cells();
    for (int64_t item = first; item < first + g.cells(); ++item)
      for (int64_t c = 0; c < size; ++c) {
        const int64_t from = item * g.channels + channel + c;
        if (taken[from] != kNone<Number>) sums[taken[from] * size + c] += static_cast<float>(dy[from]);
      }
  }
}

// sums: (threads, places, kBlock)
template <class T, class Number>
void max_backward(const Geometry& g, const std::vector<BoxCells>& boxes, const T* dy, const Number* taken,
                  float* sums, T* dx) {
  const int64_t blocks = (g.channels + kBlock - 1) / kBlock;
  parallel_for(g.maps * g.planes * blocks, 1, [&](int64_t begin, int64_t end, int thread) {
    float* own = sums + thread * g.places() * kBlock;
    for (int64_t item = begin; item < end; ++item) {
      const int64_t plane = item / blocks % g.planes, map = item / blocks / g.planes;
      const int64_t channel = item % blocks * kBlock, size = std::min(kBlock, g.channels - channel);
      add_gradients(g, boxes, map, plane, channel, size, dy, taken, own);
      T* to = dx + g.plane_offset(map, plane) + channel;
      for (int64_t place = 0; place < g.places(); ++place)
        for (int64_t c = 0; c < size; ++c) to[place * g.channels + c] = own[place * size + c];
    }
  });
}

class ROIPoolingLayer : public Layer {
 public:
  explicit ROIPoolingLayer(const Args& args)
      : cells_(args.integers("pooled")), scale_(args.real("spatial_scale")), pad_(args.real("pad_ratio")) {}

  std::vector<Shape> top_shapes(const std::vector<Shape>& bottoms) const override {
    const Shape &maps = bottoms[0], &boxes = bottoms[1];
    if (maps.size() != 4)
      throw ShapeError(message("the maps must have 4 axes (N, C, H, W), got ", to_string(maps)));
    if (boxes.size() < 2 || count(boxes, 1) != kBoxValues)
      throw ShapeError(
          message("the boxes must be (R, 5): index of the map, x1, y1, x2, y2; got ", to_string(boxes)));
    const Shape top = {boxes[0], maps[1], cells_[0], cells_[1]};
    count(top);
    return {top};
  }

  void reshape(const Blobs& bottom, const Blobs& top) override {
    const bool plain = top[0]->layout() == Layout::plain;
    const Shape& maps = bottom[0]->shape();
    const Geometry before = geometry_;
    geometry_ = {.boxes = bottom[1]->dim(0),
                 .maps = maps[0],
                 .planes = plain ? maps[1] : 1,
                 .channels = plain ? 1 : maps[1],
                 .height = static_cast<int>(maps[2]),
                 .width = static_cast<int>(maps[3]),
                 .rule = {static_cast<int>(cells_[0]), static_cast<int>(cells_[1]), scale_, pad_}};
    outputs_ = top[0]->count();
    keeps_ = runs_backward;
    kept_ = kept_ && geometry_ == before;
    if (keeps_) taken_.reserve(static_cast<size_t>(outputs_) * number_bytes());
  }

  void forward(const Context&, const Blobs& bottom, const Blobs& top) override {
    find_cells(*bottom[1]);
    if (outputs_ == 0) return;
    with_types(*top[0], [&](auto zero, auto number) {
      using T = decltype(zero);
      auto* taken = keeps_ ? static_cast<decltype(number)*>(taken_.overwrite()) : nullptr;
      max_forward(geometry_, boxes_, bottom[0]->data<T>(), top[0]->data<T>(), taken);
    });
    kept_ = keeps_;
  }

  void backward(const Context& context, const Blobs& top, const std::vector<bool>& propagate_down,
                const Blobs& bottom) override {
    if (propagate_down[1]) throw ConfigError("ROIPooling has no gradient of its boxes");
    if (!propagate_down[0] || bottom[0]->count() == 0) return;
    find_cells(*bottom[1]);
    with_types(*top[0], [&](auto zero, auto number) {
      using T = decltype(zero);
      auto* taken = static_cast<decltype(number)*>(taken_.data());
      if (!kept_ && outputs_ > 0)
        max_forward(geometry_, boxes_, bottom[0]->data<T>(), static_cast<T*>(nullptr), taken);
      max_backward(geometry_, boxes_, top[0]->diff<T>(), taken, static_cast<float*>(context.scratch->data()),
                   bottom[0]->diff<T>());
    });
  }

  size_t scratch_bytes() const override {
    if (!runs_backward) return 0;
    return static_cast<size_t>(max_threads() * geometry_.places() * kBlock) * sizeof(float);
  }

  std::string explain(const Complaint& complaint) const override {
    return bad_map(complaint.value, complaint.place, complaint.limit);
  }

 private:
  static std::string bad_map(float map, int64_t box, int64_t maps) {
    return message("box ", box, " lies on map ", map, ", which is not in the range 0 to ", maps - 1);
  }

  void find_cells(Blob& blob) {
    const float* boxes = blob.data();
    boxes_.clear();
    for (int64_t i = 0; i < geometry_.boxes; ++i) {
      boxes_.push_back(box_cells(boxes + i * kBoxValues, geometry_.maps, geometry_.rule));
      if (boxes_[i].map < 0) throw DataError(bad_map(boxes[i * kBoxValues], i, geometry_.maps));
    }
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
  size_t number_bytes() const { return geometry_.places() <= kNone<uint16_t> ? 2 : 4; }

  const std::vector<int64_t> cells_;
  const float scale_, pad_;
  Geometry geometry_;
  int64_t outputs_ = 0;
  bool keeps_ = false;  // forward notes which places are taken
  bool kept_ = false;   // the last one did
  std::vector<BoxCells> boxes_;
  Owned taken_{storages};
};

REGISTER_LAYER("ROIPooling", cpu, ROIPoolingLayer);

}  // namespace
}  // namespace caffe
