// Blobs as Python sees them: NumPy views of logical shape over the physical strides.
#include <pybind11/numpy.h>

#include "bindings.hpp"
#include "core/error.hpp"
#include "device_array.hpp"
#include "math/channels_last.hpp"
#include "math/filler.hpp"

namespace py = pybind11;

namespace caffe {
namespace {

// Keeps the memory alive as long as the view lives, and tells the storage that somebody may write to it.
struct View {
  std::shared_ptr<Storage> storage;
  std::shared_ptr<void> memory;
  ~View() { storage->remove_view(); }
};

py::array view_float32(const Blob& blob, const std::shared_ptr<Storage>& storage) {
  std::vector<py::ssize_t> strides;
  for (const int64_t stride : blob.strides()) strides.push_back(stride * static_cast<int64_t>(sizeof(float)));
  auto* view = new View{storage, storage->host_memory()};
  storage->add_view();
  py::capsule owner(view, [](void* pointer) { delete static_cast<View*>(pointer); });
  return py::array_t<float>(blob.shape(), strides, static_cast<float*>(view->memory.get()), owner);
}

// NumPy has no bfloat16: a float32 copy, read-only so that nobody writes to it in vain.
py::array copy_bfloat16(const Blob& blob, const std::shared_ptr<Storage>& storage) {
  py::array_t<float> plain(blob.count());
  const auto* from = static_cast<const bfloat16*>(storage->host_data());
  float* to = plain.mutable_data();
  for (int64_t i = 0; i < blob.count(); ++i) to[i] = from[i];
  std::vector<py::ssize_t> strides;
  for (const int64_t stride : blob.strides()) strides.push_back(stride * static_cast<int64_t>(sizeof(float)));
  py::array_t<float> shaped(blob.shape(), strides, to, plain);
  py::detail::array_proxy(shaped.ptr())->flags &= ~py::detail::npy_api::NPY_ARRAY_WRITEABLE_;
  return shaped;
}

py::array view(const Blob& blob, const std::shared_ptr<Storage>& storage) {
  return blob.dtype() == DType::float32 ? view_float32(blob, storage) : copy_bfloat16(blob, storage);
}

void require_kept_data(const Blob& blob) {
  if (blob.data_pooled())
    throw ConfigError(
        "the data of this blob is not kept, its memory is used again; build with keep_data=True");
}

py::array data_view(const Blob& blob) {
  require_kept_data(blob);
  return view(blob, blob.shared_data());
}

void require_kept_diff(const Blob& blob) {
  if (blob.diff_pooled())
    throw ConfigError(
        "the gradient of this blob is not kept, its memory is used again; build with keep_diffs=True");
}

py::array diff_view(const Blob& blob) {
  require_kept_diff(blob);
  return view(blob, blob.shared_diff());
}

DeviceArray gpu_data(const Blob& blob) {
  require_kept_data(blob);
  return {blob, blob.shared_data()};
}

DeviceArray gpu_diff(const Blob& blob) {
  require_kept_diff(blob);
  return {blob, blob.shared_diff()};
}

// Takes over another blob's data as gradient, whatever the two element types; shape and layout must be equal.
void assign_diff(Blob& blob, Blob& values) {
  require_kept_diff(blob);
  if (values.dtype() != DType::float32 || values.shape() != blob.shape() || values.layout() != blob.layout())
    throw ShapeError("the values must be float32, of the blob's shape and layout");
  const auto* from = static_cast<const float*>(values.data_storage().host_data());
  dispatch(blob.dtype(), [&](auto zero) {
    std::copy_n(from, blob.count(), static_cast<decltype(zero)*>(blob.diff_storage().host_data()));
  });
  blob.diff_storage().host_wrote();
}

// The array's memory becomes the blob's data, without a copy; shape and strides must be those of the blob.
void alias_data(Blob& blob, const py::array_t<float>& array) {
  if (blob.device() != Device::cpu) throw DeviceError("a blob on the GPU cannot use an array of the host");
  std::vector<int64_t> shape(array.shape(), array.shape() + array.ndim());
  blob.reshape(shape);
  const auto wanted = blob.strides();
  for (int axis = 0; axis < array.ndim(); ++axis)
    if (shape[axis] > 1 && array.size() > 0 &&
        array.strides(axis) != wanted[axis] * static_cast<int64_t>(sizeof(float)))
      throw ShapeError("the array's strides are not those of the blob's layout");
  auto* kept = new py::object(array);
  std::shared_ptr<void> owner(kept, [](void* pointer) {
    const py::gil_scoped_acquire gil;
    delete static_cast<py::object*>(pointer);
  });
  blob.data_storage().alias(const_cast<float*>(array.data()), blob.bytes(), std::move(owner));
}

int64_t legacy_dim(const Blob& blob, size_t axis) {
  if (blob.axes() > 4)
    throw ShapeError(message("num, channels, height and width need a blob of at most 4 axes, not ",
                             to_string(blob.shape())));
  return static_cast<int>(axis) < blob.axes() ? blob.dim(axis) : 1;
}

// Fillers write plain blobs of the host. What a value is must not depend on layout or device.
void fill_anywhere(const Filler& filler, Blob& blob, uint64_t seed, uint64_t stream) {
  if (blob.device() == Device::cpu) return fill(filler, blob, seed, stream, 0);
  Blob plain;
  plain.reshape(blob.shape());
  fill(filler, plain, seed, stream, 0);
  auto* to = static_cast<float*>(blob.data_storage().host_data());
  if (blob.layout() == Layout::channels_last)
    copy_to_channels_last(plain.data(), to, blob.shape());
  else
    std::copy_n(plain.data(), plain.count(), to);
  blob.data_storage().host_wrote();
}

void reshape(Blob& blob, const py::args& dims) {
  Shape shape;
  for (const auto& dim : dims) shape.push_back(dim.cast<int64_t>());
  blob.reshape(shape);
}

}  // namespace

void bind_blob(py::module_& m) {
  py::class_<Storage, std::shared_ptr<Storage>>(m, "Storage", "Memory, allocated at its first use.")
      .def(py::init([](size_t bytes, const std::string& device) {
             auto storage = std::make_shared<Storage>(to_device(device));
             storage->reserve(bytes);
             return storage;
           }),
           py::arg("bytes"), py::arg("device") = "cpu")
      .def_property_readonly("bytes", &Storage::bytes)
      .def_property_readonly("device", [](const Storage& storage) { return name_of(storage.device()); })
      .def_property_readonly("allocated", &Storage::allocated);
  m.def(
      "allocations",
      [] {
        const Allocations all = allocations();
        return std::make_pair(all.bytes, all.count);
      },
      "Bytes that all blobs and layers of the process own now, and how often memory was asked for.");

  py::class_<Blob, BlobPtr>(m, "Blob",
                            "A named tensor's data and diff: logical shape over a physical layout.")
      .def(py::init([](const Shape& shape, const std::string& dtype, const std::string& layout,
                       const std::string& device) {
             auto blob = std::make_shared<Blob>(
                 dtype == "bfloat16" ? DType::bfloat16 : DType::float32,
                 layout == "channels_last" ? Layout::channels_last : Layout::plain, to_device(device));
             blob->reshape(shape);
             return blob;
           }),
           py::arg("shape") = Shape{}, py::arg("dtype") = "float32", py::arg("layout") = "plain",
           py::arg("device") = "cpu")
      .def_property_readonly("shape", &Blob::shape, "Dims in Caffe's axis order, a list.")
      .def_property_readonly("data", &data_view,
                             "NumPy view of the values, no copy (bfloat16: a read-only float32 copy).")
      .def_property_readonly("diff", &diff_view,
                             "NumPy view of the gradient, no copy (bfloat16: a read-only float32 copy).")
      .def_property_readonly("gpu_data", &gpu_data, "The values on the GPU, for packages that compute there.")
      .def_property_readonly("gpu_diff", &gpu_diff, "The gradient on the GPU.")
      .def("reshape", &reshape, "Change the shape: blob.reshape(n, c, h, w).")
      .def_property_readonly("count", &Blob::count, "Number of elements.")
      .def_property_readonly(
          "num", [](const Blob& b) { return legacy_dim(b, 0); }, "Axis 0, or 1.")
      .def_property_readonly(
          "channels", [](const Blob& b) { return legacy_dim(b, 1); }, "Axis 1, or 1.")
      .def_property_readonly(
          "height", [](const Blob& b) { return legacy_dim(b, 2); }, "Axis 2, or 1.")
      .def_property_readonly(
          "width", [](const Blob& b) { return legacy_dim(b, 3); }, "Axis 3, or 1.")
      .def_property_readonly(
          "dtype", [](const Blob& b) { return b.dtype() == DType::float32 ? "float32" : "bfloat16"; })
      .def_property_readonly(
          "layout", [](const Blob& b) { return b.layout() == Layout::plain ? "plain" : "channels_last"; })
      .def_property_readonly(
          "device", [](const Blob& b) { return name_of(b.device()); }, "Where both arrays lie.")
      .def_property_readonly("bytes", &Blob::bytes, "Size of one of the two arrays.")
      .def_property_readonly(
          "data_id", [](const Blob& b) { return reinterpret_cast<uintptr_t>(b.shared_data().get()); },
          "Equal for blobs that share their data.")
      .def_property_readonly(
          "diff_id", [](const Blob& b) { return reinterpret_cast<uintptr_t>(b.shared_diff().get()); },
          "Equal for blobs that share their diff.")
      .def("alias_data", &alias_data, py::arg("array"),
           "Use the array's memory as data; shape and strides must fit.")
      .def("share_data", &Blob::share_data, py::arg("other"), "Use the other blob's data from now on.")
      .def("share_diff", &Blob::share_diff, py::arg("other"), "Use the other blob's diff from now on.")
      .def_property_readonly("data_pooled", &Blob::data_pooled,
                             "Whether the values are not kept after the run.")
      .def_property_readonly("diff_pooled", &Blob::diff_pooled,
                             "Whether the gradient is not kept after backward.")
      .def_property_readonly("data_allocated", [](Blob& b) { return b.data_storage().allocated(); })
      .def_property_readonly("diff_allocated", [](Blob& b) { return b.diff_storage().allocated(); })
      .def("assign_diff", &assign_diff, py::arg("values"), "Set the gradient to another float32 blob's data.")
      .def(
          "place_data",
          [](Blob& b, std::shared_ptr<Storage> arena, size_t offset) {
            b.data_storage().place(std::move(arena), offset);
          },
          py::arg("arena"), py::arg("offset"),
          "Use a part of the arena, in turns with other blobs, for data.")
      .def(
          "place_diff",
          [](Blob& b, std::shared_ptr<Storage> arena, size_t offset) {
            b.diff_storage().place(std::move(arena), offset);
          },
          py::arg("arena"), py::arg("offset"), "The same for the gradient.")
      .def(
          "data_is_finite", [](Blob& b) { return all_finite(b, false); },
          "Whether no value is NaN or infinite; also for data that is not kept, right after it was made.")
      .def(
          "clear_diff",
          [](Blob& b) {
            require_kept_diff(b);
            b.diff_storage().clear();
          },
          "Set the gradient to zero.");

  m.def(
      "fill",
      [](Blob& blob, const std::string& type, float value, float min, float max, float mean, float std,
         int64_t sparse, const std::string& variance_norm, uint64_t seed, uint64_t stream) {
        const py::gil_scoped_release release;
        fill_anywhere({type, value, min, max, mean, std, sparse, variance_norm}, blob, seed, stream);
      },
      py::arg("blob"), py::kw_only(), py::arg("type"), py::arg("value"), py::arg("min"), py::arg("max"),
      py::arg("mean"), py::arg("std"), py::arg("sparse"), py::arg("variance_norm"), py::arg("seed"),
      py::arg("stream"), "Fill a learned blob with its initial values.");
}

}  // namespace caffe
