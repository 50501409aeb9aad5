// A named tensor's two arrays, data and diff: a logical shape (N, C, H, W) over a physical layout.
#pragma once

#include <memory>
#include <vector>

#include "core/dtype.hpp"
#include "core/shape.hpp"
#include "core/storage.hpp"

namespace caffe {

// channels_last stores axis 1 fastest (NHWC, NDHWC). It applies to blobs of 4 or 5 axes; all others are
// plain.
enum class Layout { plain, channels_last };

class Blob {
 public:
  explicit Blob(DType dtype = DType::float32, Layout layout = Layout::plain, Device device = Device::cpu)
      : dtype_(dtype),
        layout_(layout),
        device_(device),
        data_(std::make_shared<Storage>(device)),
        diff_(std::make_shared<Storage>(device)) {}

  const Shape& shape() const { return shape_; }
  int64_t dim(size_t axis) const { return shape_[axis]; }
  int axes() const { return static_cast<int>(shape_.size()); }
  int64_t count() const { return count_; }
  DType dtype() const { return dtype_; }
  Device device() const { return device_; }

  // How the elements lie in memory now, given the number of axes.
  Layout layout() const { return axes() == 4 || axes() == 5 ? layout_ : Layout::plain; }
  std::vector<int64_t> strides() const;  // in elements, one for each logical axis

  // Changes the shape; memory grows when needed and never shrinks. Contents are unspecified when it grows.
  void reshape(const Shape& shape);
  uint64_t shape_version() const { return shape_version_; }  // changes with every change of shape

  // On the blob's device.
  template <class T = float>
  T* data() {
    return static_cast<T*>(data_->data());
  }
  template <class T = float>
  T* diff() {
    return static_cast<T*>(diff_->data());
  }
  size_t bytes() const { return static_cast<size_t>(count_) * size_of(dtype_); }

  // Both arrays as storages, to be shared with a blob of equal count and type.
  Storage& data_storage() { return *data_; }
  Storage& diff_storage() { return *diff_; }
  const std::shared_ptr<Storage>& shared_data() const { return data_; }
  const std::shared_ptr<Storage>& shared_diff() const { return diff_; }
  // Throws DeviceError for a blob on the other device: kernels of this one's cannot read its memory.
  void share_data(const Blob& other) { data_ = shared(other.data_); }
  void share_diff(const Blob& other) { diff_ = shared(other.diff_); }
  // Whether the contents last only as long as the plan needs them; see Storage::place.
  bool data_pooled() const { return data_->placed(); }
  bool diff_pooled() const { return diff_->placed(); }

 private:
  const std::shared_ptr<Storage>& shared(const std::shared_ptr<Storage>& storage) const;

  Shape shape_;
  int64_t count_ = 1;
  DType dtype_;
  Layout layout_;
  Device device_;
  uint64_t shape_version_ = 1;
  std::shared_ptr<Storage> data_, diff_;
};

// Whether no value of the data, or of the diff, is NaN or infinite.
bool all_finite(Blob& blob, bool diff);

using BlobPtr = std::shared_ptr<Blob>;
using Blobs = std::vector<BlobPtr>;

}  // namespace caffe
