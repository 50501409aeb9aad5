// Transfer: the same values on the other device. Inserted by the plan, never written in a prototxt.
//
// forward: y = x, backward: dx = dy. One of bottom and top lies on the GPU. What goes there takes one of two
// berths in turns, so that the next batch travels while the device still works on this one; what comes from
// there is waited for.
#include <algorithm>
#include <cstring>

#include "core/accelerator.hpp"
#include "core/error.hpp"
#include "core/parallel.hpp"
#include "core/registry.hpp"

namespace caffe {
namespace {

constexpr int64_t kCopyGrain = 1 << 20;  // bytes a thread copies at a time

void copy_bytes(void* to, const void* from, size_t bytes) {
  parallel_for(static_cast<int64_t>(bytes), kCopyGrain, [=](int64_t begin, int64_t end, int) {
    std::memcpy(static_cast<char*>(to) + begin, static_cast<const char*>(from) + begin,
                static_cast<size_t>(end - begin));
  });
}

// A batch on its way to the device: through memory that the device reads directly, to a place of its own
// there, while the device still computes on the batch before.
class Berth {
 public:
  ~Berth() {
    try {
      if (left_) left_->wait();
    } catch (const DeviceError&) {  // the process ends, or work has failed, which its next wait tells
    }
  }

  void send(const void* from, Storage& to, size_t bytes) {
    if (left_) left_->wait();
    if (bytes > bytes_) grow(bytes);
    copy_bytes(memory_.get(), from, bytes);
    const auto arrived = accelerator().upload_aside(there_.overwrite(), memory_.get(), bytes);
    accelerator().queue_wait(*arrived);
    accelerator().copy(to.overwrite(), there_.data(), bytes);
    left_ = accelerator().mark();
  }
  size_t bytes() const { return 2 * bytes_; }

 private:
  void grow(size_t bytes) {
    memory_ = allocate_pinned(bytes);
    there_.reserve(bytes);
    bytes_ = bytes;
  }

  std::shared_ptr<void> memory_;
  Storage there_{Device::cuda};
  size_t bytes_ = 0;
  std::unique_ptr<Moment> left_;  // when both places are free again
};

class TransferLayer : public Layer {
 public:
  explicit TransferLayer(const Args&) {}

  std::vector<Shape> top_shapes(const std::vector<Shape>& bottoms) const override { return bottoms; }

  void forward(const Context&, const Blobs& bottom, const Blobs& top) override {
    move(bottom[0]->data_storage(), top[0]->data_storage(), bottom[0]->bytes());
  }

  void backward(const Context&, const Blobs& top, const std::vector<bool>& propagate_down,
                const Blobs& bottom) override {
    if (propagate_down[0]) move(top[0]->diff_storage(), bottom[0]->diff_storage(), bottom[0]->bytes());
  }

  size_t private_bytes(bool) const override { return berths_[0].bytes() + berths_[1].bytes(); }

 private:
  void move(Storage& from, Storage& to, size_t bytes) {
    if (to.device() == Device::cuda) {
      turn_ = 1 - turn_;
      berths_[turn_].send(from.data(), to, bytes);
      return;
    }
    from.device_wrote();
    copy_bytes(to.overwrite(), from.host_data(), bytes);
  }

  Berth berths_[2];
  int turn_ = 0;
};

REGISTER_LAYER("Transfer", cpu, TransferLayer);

}  // namespace
}  // namespace caffe
