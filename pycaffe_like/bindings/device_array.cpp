// Blobs on the GPU for other packages: the CUDA array interface (PyCUDA, CuPy, Numba, PyTorch) and DLPack.
#include "device_array.hpp"

#include <pybind11/typing.h>

#include "bindings.hpp"
#include "core/accelerator.hpp"
#include "core/error.hpp"
#include "dlpack.hpp"

namespace py = pybind11;

namespace caffe {
namespace {

std::shared_ptr<void> view_on_device(const std::shared_ptr<Storage>& storage) {
  std::shared_ptr<void> memory = storage->device_memory();
  storage->add_device_view();
  return {memory.get(), [storage, memory](void*) { storage->remove_device_view(); }};
}

using Ints = py::typing::Tuple<py::int_, py::ellipsis>;

Ints to_tuple(const std::vector<int64_t>& values, int64_t unit = 1) {
  py::tuple result(values.size());
  for (size_t i = 0; i < values.size(); ++i) result[i] = unit * values[i];
  return result;
}

uintptr_t to_number(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer); }

// Version 3 of the interface. For bfloat16 it has no name; NumPy's for two bytes of any kind is what PyTorch
// and ml_dtypes use.
py::dict cuda_array_interface(const DeviceArray& array) {
  py::dict result;
  result["shape"] = to_tuple(array.shape());
  result["typestr"] = array.dtype() == DType::float32 ? "<f4" : "<V2";
  result["data"] = py::make_tuple(to_number(array.data()), false);
  result["version"] = 3;
  result["strides"] = to_tuple(array.strides(), static_cast<int64_t>(size_of(array.dtype())));
  result["stream"] = to_number(accelerator().stream());
  return result;
}

// Lets the stream of whoever asks wait for ours; the numbers are those of the array API standard.
void order_before(const py::object& stream) {
  constexpr int64_t kAmbiguous = 0, kLegacyDefault = 1, kNone = -1;
  const int64_t number = stream.is_none() ? kLegacyDefault : stream.cast<int64_t>();
  if (number == kAmbiguous) throw py::value_error("stream 0 is ambiguous: 1 is the default stream of CUDA");
  if (number == kNone) return;
  accelerator().precede(number == kLegacyDefault ? kDefaultStream : reinterpret_cast<void*>(number));
}

std::pair<int, int> dlpack_device() { return {dlpack::kCuda, chosen_accelerator()}; }

// Keeps the array, whose shape and strides the struct points at.
template <class Managed>
struct Handed {
  DeviceArray array;
  Managed managed{};
};

template <class Managed>
void delete_unused(PyObject* capsule) {
  if (!PyCapsule_IsValid(capsule, Managed::kName)) return;  // its taker deletes it
  auto* managed = static_cast<Managed*>(PyCapsule_GetPointer(capsule, Managed::kName));
  managed->deleter(managed);
}

template <class Managed>
py::capsule to_capsule(const DeviceArray& array) {
  auto* handed = new Handed<Managed>{array};
  Managed& managed = handed->managed;
  managed.context = handed;
  managed.deleter = [](Managed* self) { delete static_cast<Handed<Managed>*>(self->context); };
  const bool wide = array.dtype() == DType::float32;
  managed.tensor = {
      .data = array.data(),
      .device = {dlpack::kCuda, chosen_accelerator()},
      .ndim = static_cast<int32_t>(array.shape().size()),
      .dtype = {wide ? dlpack::kFloat : dlpack::kBfloat, static_cast<uint8_t>(wide ? 32 : 16), 1},
      .shape = const_cast<int64_t*>(handed->array.shape().data()),
      .strides = const_cast<int64_t*>(handed->array.strides().data()),
      .byte_offset = 0};
  if constexpr (requires { managed.version; }) managed.version = {1, 0};
  return py::capsule(&managed, Managed::kName, &delete_unused<Managed>);
}

py::capsule to_dlpack(const DeviceArray& array, const py::object& stream,
                      const std::optional<std::pair<int, int>>& max_version,
                      const std::optional<std::pair<int, int>>& device, const std::optional<bool>& copy) {
  if (copy.value_or(false)) throw py::buffer_error("a blob's array is shared, not copied");
  if (device && *device != dlpack_device()) throw py::buffer_error("a blob's array stays on its GPU");
  order_before(stream);
  const bool versioned = max_version && max_version->first >= 1;
  return versioned ? to_capsule<dlpack::ManagedVersioned>(array) : to_capsule<dlpack::Managed>(array);
}

}  // namespace

DeviceArray::DeviceArray(const Blob& blob, const std::shared_ptr<Storage>& storage)
    : shape_(blob.shape()), strides_(blob.strides()), dtype_(blob.dtype()) {
  if (blob.device() == Device::cpu)
    throw DeviceError(
        "this blob is in the memory of the host: use data and diff, or build its net after "
        "caffe.set_mode_gpu()");
  memory_ = view_on_device(storage);
}

void* DeviceArray::data() const { return count(shape_) ? memory_.get() : nullptr; }

void bind_device_array(py::module_& m) {
  py::class_<DeviceArray>(m, "DeviceArray", "An array on the GPU, for packages that compute there.")
      .def_property_readonly("shape", [](const DeviceArray& a) { return to_tuple(a.shape()); })
      .def_property_readonly(
          "dtype", [](const DeviceArray& a) { return a.dtype() == DType::float32 ? "float32" : "bfloat16"; })
      .def_property_readonly(
          "ptr", [](const DeviceArray& a) { return to_number(a.data()); }, "Address on the GPU.")
      .def_property_readonly("__cuda_array_interface__", &cuda_array_interface)
      .def("__dlpack__", &to_dlpack, py::kw_only(), py::arg("stream") = py::none(),
           py::arg("max_version") = py::none(), py::arg("dl_device") = py::none(),
           py::arg("copy") = py::none())
      .def("__dlpack_device__", [](const DeviceArray&) { return dlpack_device(); });
}

}  // namespace caffe
