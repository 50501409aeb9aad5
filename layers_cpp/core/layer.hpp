// What every layer is: set-up by its constructor, a pure shape rule, forward and backward.
//
// Contract, the same as Caffe's: forward overwrites the tops' data. backward overwrites the diffs of the
// bottoms whose propagate_down is set, leaves the others alone, and accumulates (+=) into the diffs of its
// params whose param_propagate_down is set. A top may be the very blob of the bottom at the same position
// (in-place) only where the layer's Python mapping says so.
//
// The one exception: where the plan gives it the argument `accumulates`, backward adds to the diff of the
// bottom, in which another reader of the same data has left its gradient.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/args.hpp"
#include "core/blob.hpp"

namespace caffe {

// What a kernel on the GPU found wrong; its layer words it when the work is done (Layer::explain).
struct Complaint {
  int32_t code = 0;   // 0: nothing; others mean what the layer says
  int32_t step = 0;   // number of the step in the executor
  int64_t place = 0;  // in a blob
  int64_t limit = 0;  // what the value had to stay within
  float value = 0;
};

// What a run hands to the layers it calls.
struct Context {
  Storage* scratch;    // on the layer's device, shared by all layers; contents last for one call
  uint64_t seed;       // of the net's random numbers
  uint64_t iteration;  // number of the forward pass, for counter-based random numbers
  // For layers on the GPU:
  void* stream = nullptr;                      // the cudaStream_t to queue kernels on
  const uint64_t* device_iteration = nullptr;  // `iteration` as recorded kernels must read it
  Complaint* complaint = nullptr;              // on the device; the first one stays
  int32_t step = 0;
};

class Layer {
 public:
  virtual ~Layer() = default;

  // The shapes of the tops, and of the learned blobs, for bottoms of these shapes. Pure: nothing is allocated
  // or remembered. Throws ShapeError where the layer cannot take them.
  virtual std::vector<Shape> top_shapes(const std::vector<Shape>& bottoms) const = 0;
  virtual std::vector<Shape> param_shapes(const std::vector<Shape>& /*bottoms*/) const { return {}; }
  // Shapes of what the layer carries from one forward to the next, such as h and c of a recurrent layer. The
  // graph owns it, keeps it when a net is planned anew, and saves it with the solver's state.
  virtual std::vector<Shape> state_shapes(const std::vector<Shape>& /*bottoms*/) const { return {}; }
  // True: the tops' shapes are known only when forward runs, which reshapes them; top_shapes gives the
  // largest they can have, or the usual ones where there is no bound.
  virtual bool shapes_at_run_time() const { return shapes_its_tops; }

  // Called before the first run and after every change of a bottom's shape; the tops have their new shapes
  // already. Here primitives are created and storages shared, so that forward and backward only compute.
  // With shapes_its_tops, called before every forward instead, and it reshapes the tops.
  virtual void reshape(const Blobs& /*bottom*/, const Blobs& /*top*/) {}

  virtual void forward(const Context& context, const Blobs& bottom, const Blobs& top) = 0;
  virtual void backward(const Context& context, const Blobs& top, const std::vector<bool>& propagate_down,
                        const Blobs& bottom) = 0;

  // Makes the tops' data of the last forward again, bit by bit, before backward; the context is that of the
  // forward. A layer whose forward changes more than its tops overrides it.
  virtual void recompute(const Context& context, const Blobs& bottom, const Blobs& top) {
    forward(context, bottom, top);
  }

  // False for a layer that was planned to run forward only.
  virtual bool has_backward() const { return true; }

  // Bytes the layer keeps beside the blobs (masks, packed weights), and bytes of scratch it needs; known
  // after reshape(). `training` says whether backward will be called.
  virtual size_t private_bytes(bool /*training*/) const { return storages.bytes(); }
  virtual size_t scratch_bytes() const { return 0; }

  // Says what a complaint of one of its kernels means: what is wrong, where, and what would be right.
  virtual std::string explain(const Complaint& complaint) const;

  // Where its blobs lie. On the GPU forward and backward queue work on the context's stream and return.
  virtual Device device() const { return Device::cpu; }
  // Whether queued work of one forward and backward may be recorded and repeated: it depends on nothing but
  // memory on the GPU.
  virtual bool recordable() const { return device() == Device::cuda; }

  Owner storages;                          // what the layer keeps beside the blobs; before its storages
  Blobs params;                            // learned blobs, float32 and plain, given by the net
  Blobs state;                             // likewise; zero at first, and after a change of its shape
  std::vector<bool> param_propagate_down;  // one for each of them
  uint64_t stream = 0;                     // tells this layer's random numbers from another's
  bool runs_backward = true;               // false: reshape need not prepare for backward
  bool shapes_its_tops = false;            // true: their shapes may change without those of the bottoms
};

}  // namespace caffe
