// Data pipeline: records and image headers are checked, and batches transformed, many at a call without the
// GIL.
//
// A bad record is a matter for the caller's policy, not an exception: both batch functions return what is
// wrong as a list of (index, message), and the caller knows database and key.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "core/batch_transform.hpp"
#include "core/datum.hpp"
#include "core/image_header.hpp"

namespace py = pybind11;

namespace caffe {
namespace {

using Problems = std::vector<std::pair<std::size_t, std::string>>;

// What Python needs to know of a record; for an encoded one the sizes are those of the image file's header.
struct DatumInfo {
  std::int32_t channels, height, width, label, encoded, bit_depth;
  std::int64_t data_offset, data_size;  // of the field `data` within the record
};

// Read access to the memory of many Python objects; made and destroyed with the GIL held.
class Buffers {
 public:
  explicit Buffers(const py::list& objects) {
    views_.reserve(objects.size());
    for (const py::handle object : objects) {
      Py_buffer view;
      if (PyObject_GetBuffer(object.ptr(), &view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT) != 0) {
        release();
        throw py::error_already_set();
      }
      views_.push_back(view);
    }
  }
  ~Buffers() { release(); }
  Buffers(const Buffers&) = delete;
  Buffers& operator=(const Buffers&) = delete;

  std::size_t size() const { return views_.size(); }
  const Py_buffer& view(std::size_t i) const { return views_[i]; }
  Bytes bytes(std::size_t i) const {
    return {static_cast<const std::uint8_t*>(views_[i].buf), static_cast<std::size_t>(views_[i].len)};
  }

 private:
  void release() {
    for (Py_buffer& view : views_) PyBuffer_Release(&view);
  }

  std::vector<Py_buffer> views_;
};

template <typename Function>
Problems for_each_item(std::size_t count, Function&& function) {
  Problems problems;
  for (std::size_t i = 0; i < count; ++i) {
    try {
      function(i);
    } catch (const std::invalid_argument& error) {
      problems.emplace_back(i, error.what());
    }
  }
  return problems;
}

DatumInfo inspect_datum(Bytes record) {
  const Datum datum = parse_datum(record);
  DatumInfo info{datum.channels, datum.height, datum.width, datum.label, datum.encoded, 8, 0, 0};
  if (!datum.data.empty()) info.data_offset = datum.data.data() - record.data();
  info.data_size = static_cast<std::int64_t>(datum.data.size());
  if (datum.encoded) {
    const ImageHeader header = read_image_header(datum.data);
    info.channels = header.channels;
    info.height = header.height;
    info.width = header.width;
    info.bit_depth = header.bit_depth;
  } else {
    check_pixel_count(datum);
  }
  return info;
}

// The array is one of DatumInfo; its signature says `array`, because Python has no name for the type of its
// entries.
std::pair<py::array, Problems> parse_datums(const py::list& records) {
  const Buffers buffers(records);
  py::array_t<DatumInfo> infos(static_cast<py::ssize_t>(buffers.size()));
  DatumInfo* info = infos.mutable_data();
  std::fill(info, info + buffers.size(), DatumInfo{});
  Problems problems;
  {
    const py::gil_scoped_release no_gil;
    problems =
        for_each_item(buffers.size(), [&](std::size_t i) { info[i] = inspect_datum(buffers.bytes(i)); });
  }
  return {infos, problems};
}

// A decoded image: bytes, (rows, columns) or (rows, columns, channels).
Image decoded_image(const Py_buffer& view) {
  if (view.itemsize != 1) throw std::invalid_argument("image is not of 8 bits a channel");
  Image image;
  image.bytes = static_cast<const std::uint8_t*>(view.buf);
  image.height = static_cast<int>(view.shape[0]);
  image.width = static_cast<int>(view.shape[1]);
  image.channels = view.ndim == 3 ? static_cast<int>(view.shape[2]) : 1;
  image.interleaved = true;
  return image;
}

Image stored_image(const Datum& datum) {
  if (datum.encoded) throw std::invalid_argument("record holds an image file that is not decoded yet");
  check_pixel_count(datum);
  Image image;
  image.channels = datum.channels;
  image.height = datum.height;
  image.width = datum.width;
  if (datum.data.empty()) {
    image.floats = datum.float_data.data();
  } else {
    image.bytes = datum.data.data();
  }
  return image;
}

using FloatArray = py::array_t<float, py::array::c_style>;
using IntArray = py::array_t<int, py::array::c_style | py::array::forcecast>;

Mean make_mean(const FloatArray& values, const std::optional<FloatArray>& planar,
               const std::optional<FloatArray>& interleaved) {
  Mean mean;
  mean.values = values.data();
  if (planar.has_value() != interleaved.has_value())
    throw py::value_error("a mean image is given in both orders");
  if (planar) {
    if (planar->size() != interleaved->size()) throw py::value_error("the two mean images differ in size");
    mean.planar = planar->data();
    mean.interleaved = interleaved->data();
  }
  return mean;
}

// The mean must cover every image: checked here, where it costs nothing, since it is read without bounds.
void check_mean_covers(const Image& image, const std::optional<FloatArray>& planar) {
  if (!planar) return;
  const bool same = planar->ndim() == 3 && planar->shape(0) == image.channels &&
                    planar->shape(1) == image.height && planar->shape(2) == image.width;
  if (!same) {
    throw std::invalid_argument("image of " + std::to_string(image.channels) + "x" +
                                std::to_string(image.height) + "x" + std::to_string(image.width) +
                                " (channels, height, width) is not of the mean image's size");
  }
}

Problems transform_batch(const py::list& items, const py::array_t<float>& out, const IntArray& h_off,
                         const IntArray& w_off, const IntArray& mirror, float scale,
                         const FloatArray& mean_values, const std::optional<FloatArray>& mean_planar,
                         const std::optional<FloatArray>& mean_interleaved) {
  const auto count = static_cast<py::ssize_t>(items.size());
  if (out.ndim() != 4 || !out.writeable()) throw py::value_error("out must be a writable array of 4 axes");
  if (out.shape(0) < count || h_off.size() < count || w_off.size() < count || mirror.size() < count) {
    throw py::value_error("out, h_off, w_off and mirror must have an entry for each item");
  }
  if (mean_values.size() < out.shape(1))
    throw py::value_error("mean_values must have a value for each channel");
  const Mean mean = make_mean(mean_values, mean_planar, mean_interleaved);
  const Buffers buffers(items);
  auto stride = [&](int axis) { return out.strides(axis) / static_cast<py::ssize_t>(sizeof(float)); };
  Target target{nullptr,
                static_cast<int>(out.shape(1)),
                static_cast<int>(out.shape(2)),
                static_cast<int>(out.shape(3)),
                stride(1),
                stride(2),
                stride(3)};
  float* const first = const_cast<float*>(out.data());  // writable, as checked above

  const py::gil_scoped_release no_gil;
  return for_each_item(buffers.size(), [&](std::size_t i) {
    const bool is_record = buffers.view(i).ndim == 1;
    const Datum datum = is_record ? parse_datum(buffers.bytes(i)) : Datum{};
    const Image image = is_record ? stored_image(datum) : decoded_image(buffers.view(i));
    check_mean_covers(image, mean_planar);
    target.data = first + static_cast<std::ptrdiff_t>(i) * stride(0);
    const Crop crop{h_off.data()[i], w_off.data()[i], mirror.data()[i] != 0};
    transform_image(image, crop, mean, scale, target);
  });
}

py::dict read_header(const py::buffer& file) {
  const Buffers buffers(py::list(py::make_tuple(file)));
  const ImageHeader header = read_image_header(buffers.bytes(0));
  using namespace py::literals;
  return py::dict("format"_a = header.format, "width"_a = header.width, "height"_a = header.height,
                  "channels"_a = header.channels, "bit_depth"_a = header.bit_depth, "scans"_a = header.scans);
}

}  // namespace

void bind_data(py::module_& m) {
  PYBIND11_NUMPY_DTYPE(DatumInfo, channels, height, width, label, encoded, bit_depth, data_offset, data_size);
  m.def(
      "parse_datums", &parse_datums, py::arg("records"),
      "Check serialized Datum records. Returns one entry a record (channels, height, width, label, encoded, "
      "bit_depth, data_offset, data_size) and what is wrong as a list of (index, message).");
  m.def("transform_batch", &transform_batch, py::arg("items"), py::arg("out").noconvert(), py::arg("h_off"),
        py::arg("w_off"), py::arg("mirror"), py::arg("scale"), py::arg("mean_values"),
        py::arg("mean_planar") = py::none(), py::arg("mean_interleaved") = py::none(),
        "Crop, mirror, subtract the mean and scale: item i (a Datum record, or a decoded image as uint8 "
        "array of "
        "rows, columns and channels) into out[i], float32 of shape (N, C, H, W) and any strides. Returns "
        "what is "
        "wrong as a list of (index, message); such items are left as they were.");
  m.def(
      "read_image_header", &read_header, py::arg("file"),
      "What a JPEG or PNG file says about itself. Raises ValueError for other formats and over the limits.");
}

}  // namespace caffe
