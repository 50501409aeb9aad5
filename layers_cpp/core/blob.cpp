#include "core/blob.hpp"

#include "core/error.hpp"

namespace caffe {

const std::shared_ptr<Storage>& Blob::shared(const std::shared_ptr<Storage>& storage) const {
  if (storage->device() != device_)
    throw DeviceError("a blob on the GPU and one of the host cannot share memory; copy the values instead");
  return storage;
}

std::vector<int64_t> Blob::strides() const {
  std::vector<int64_t> strides(shape_.size());
  int64_t step = 1;
  const bool channels_last = layout() == Layout::channels_last;
  if (channels_last) {
    strides[1] = 1;
    step = shape_[1];
  }
  for (size_t axis = shape_.size(); axis-- > 0;) {
    if (channels_last && axis == 1) continue;
    strides[axis] = step;
    step *= shape_[axis];
  }
  return strides;
}

void Blob::reshape(const Shape& shape) {
  count_ = caffe::count(shape);
  if (shape != shape_) ++shape_version_;
  shape_ = shape;
  data_->reserve(bytes());
  diff_->reserve(bytes());
}

namespace {

template <class T>
bool all_finite(const T* values, int64_t count) {
  float sum = 0;  // 0 * x is NaN for infinite x, so one sum finds them all
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < count; ++i) sum += 0.0f * static_cast<float>(values[i]);
  return sum == 0.0f;
}

}  // namespace

bool all_finite(Blob& blob, bool diff) {
  return dispatch(blob.dtype(), [&](auto zero) {
    Storage& storage = diff ? blob.diff_storage() : blob.data_storage();
    return all_finite(static_cast<const decltype(zero)*>(storage.host_data()), blob.count());
  });
}

}  // namespace caffe
