// The copy of its bottom that a layer keeps which works in place and whose backward reads the bottom's data.
#pragma once

#include "core/error.hpp"
#include "core/layer.hpp"

namespace caffe {

class KeptInput {
 public:
  explicit KeptInput(Owner& owner, Device device = Device::cpu) : copy_(owner, device) {}

  // In reshape: whether backward may read the data.
  void reshape(const Blobs& bottom, const Blobs& top, bool wanted) {
    wanted_ = wanted && bottom[0] == top[0];
    copy_.reserve(wanted_ ? bottom[0]->bytes() : 0);
    valid_ = false;
  }

  // In forward: where the data is to be copied before the top overwrites it, null if it need not be.
  template <class T>
  T* place() {
    valid_ = wanted_;
    return wanted_ ? static_cast<T*>(copy_.overwrite()) : nullptr;
  }

  // In backward: the data of the last forward.
  template <class T>
  const T* data(Blob& bottom) {
    if (!wanted_) return bottom.data<T>();
    if (!valid_)
      throw ConfigError(
          "the last forward, in place and without backward in view, did not keep its input: run it again");
    return static_cast<const T*>(copy_.data());
  }

 private:
  Owned copy_;
  bool wanted_ = false, valid_ = false;
};

}  // namespace caffe
