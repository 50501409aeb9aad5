// Data pipeline: records and image headers are checked, and batches transformed, many at a call without the
// GIL.
//
// A bad record is a matter for the caller's policy, not an exception: both batch functions return what is
// wrong as a list of (index, message), and the caller knows database and key.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "data/batch_transform.hpp"
#include "data/datum.hpp"
#include "data/image_header.hpp"
#include "data/lmdb_file.hpp"
#include "data/png_file.hpp"

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

Mean make_mean(const py::array_t<float>& out, const FloatArray& values,
               const std::optional<FloatArray>& planar, const std::optional<FloatArray>& interleaved) {
  if (values.size() < out.shape(1)) throw py::value_error("mean_values must have a value for each channel");
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

// Of a batch; images `first` up to `end` of it are written.
class BatchWriter {
 public:
  BatchWriter(const py::array_t<float>& out, const IntArray& h_off, const IntArray& w_off,
              const IntArray& mirror, py::ssize_t first, py::ssize_t end)
      : h_off_(h_off.data()), w_off_(w_off.data()), mirror_(mirror.data()) {
    if (out.ndim() != 4 || !out.writeable()) throw py::value_error("out must be a writable array of 4 axes");
    if (first < 0 || out.shape(0) < end || h_off.size() < end || w_off.size() < end || mirror.size() < end) {
      throw py::value_error("out, h_off, w_off and mirror must have an entry for each item");
    }
    auto stride = [&](int axis) { return out.strides(axis) / static_cast<py::ssize_t>(sizeof(float)); };
    data_ = const_cast<float*>(out.data());  // writable, as checked above
    image_stride_ = stride(0);
    target_ = {nullptr,
               static_cast<int>(out.shape(1)),
               static_cast<int>(out.shape(2)),
               static_cast<int>(out.shape(3)),
               stride(1),
               stride(2),
               stride(3)};
  }

  void write(const Image& image, std::ptrdiff_t at, ImageTransform& transform) {
    target_.data = data_ + at * image_stride_;
    transform(image, {h_off_[at], w_off_[at], mirror_[at] != 0}, target_);
  }

 private:
  float* data_;
  std::ptrdiff_t image_stride_;
  Target target_;
  const int* h_off_;
  const int* w_off_;
  const int* mirror_;
};

Problems transform_batch(const py::list& items, const py::array_t<float>& out, const IntArray& h_off,
                         const IntArray& w_off, const IntArray& mirror, float scale,
                         const FloatArray& mean_values, const std::optional<FloatArray>& mean_planar,
                         const std::optional<FloatArray>& mean_interleaved, py::ssize_t first) {
  BatchWriter batch(out, h_off, w_off, mirror, first, first + static_cast<py::ssize_t>(items.size()));
  const Mean mean = make_mean(out, mean_values, mean_planar, mean_interleaved);
  const Buffers buffers(items);

  const py::gil_scoped_release no_gil;
  ImageTransform transform(mean, scale);
  return for_each_item(buffers.size(), [&](std::size_t i) {
    const bool is_record = buffers.view(i).ndim == 1;
    const Datum datum = is_record ? parse_datum(buffers.bytes(i)) : Datum{};
    const Image image = is_record ? stored_image(datum) : decoded_image(buffers.view(i));
    check_mean_covers(image, mean_planar);
    batch.write(image, first + static_cast<std::ptrdiff_t>(i), transform);
  });
}

using Places = py::array_t<std::uint64_t, py::array::c_style>;

std::span<const LmdbFile::Place> as_places(const Places& places) {
  static_assert(sizeof(LmdbFile::Place) == 2 * sizeof(std::uint64_t));
  if (places.ndim() != 2 || places.shape(1) != 2) throw py::value_error("places must have two columns");
  return {reinterpret_cast<const LmdbFile::Place*>(places.data()), static_cast<std::size_t>(places.shape(0))};
}

// A record after the other moves from the file through the cache into the batch. Returns false, without
// saying why, as soon as one is not as expected: the caller then looks at them one by one.
bool transform_stored(const LmdbFile& file, const Places& places, const std::array<int, 3>& size,
                      const py::array_t<float>& out, py::array_t<float>& labels, const IntArray& h_off,
                      const IntArray& w_off, const IntArray& mirror, float scale,
                      const FloatArray& mean_values, const std::optional<FloatArray>& mean_planar,
                      const std::optional<FloatArray>& mean_interleaved) {
  const std::span<const LmdbFile::Place> wanted = as_places(places);
  BatchWriter batch(out, h_off, w_off, mirror, 0, places.shape(0));
  if (labels.size() < places.shape(0)) throw py::value_error("labels must have an entry for each record");
  float* const label = labels.mutable_data();
  const Mean mean = make_mean(out, mean_values, mean_planar, mean_interleaved);

  const py::gil_scoped_release no_gil;
  static thread_local std::vector<std::uint8_t> memory;
  ImageTransform transform(mean, scale);
  try {
    return file.read_each(wanted, memory, [&](std::size_t i, Bytes record) {
      const Datum datum = parse_datum(record);
      if (datum.encoded || std::array{datum.channels, datum.height, datum.width} != size) return false;
      const Image image = stored_image(datum);
      check_mean_covers(image, mean_planar);
      batch.write(image, static_cast<std::ptrdiff_t>(i), transform);
      label[i] = static_cast<float>(datum.label);
      return true;
    });
  } catch (const std::invalid_argument&) {
    return false;
  } catch (const std::runtime_error&) {
    return false;
  }
}

std::uint64_t mix(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

using Counters = py::array_t<std::int64_t, py::array::c_style | py::array::forcecast>;

Counters draw_below(const Counters& bound, std::uint64_t seed, const Counters& counters, std::uint64_t draw) {
  constexpr std::uint64_t kGolden = 0x9E3779B97F4A7C15;
  const bool one = bound.ndim() == 0;
  if (!one && bound.size() != counters.size()) throw py::value_error("give one bound, or one a counter");
  const std::uint64_t key = mix(seed + kGolden), offset = kGolden * (draw + 1);
  Counters numbers(counters.size());
  for (py::ssize_t i = 0; i < counters.size(); ++i) {
    const auto below = static_cast<std::uint64_t>(bound.data()[one ? 0 : i]);
    if (below == 0) throw py::value_error("the bound must be at least 1");
    const std::uint64_t bits = mix(mix(static_cast<std::uint64_t>(counters.data()[i]) ^ key) + offset);
    numbers.mutable_data()[i] = static_cast<std::int64_t>(bits % below);
  }
  return numbers;
}

py::dict read_header(const py::buffer& file) {
  const Buffers buffers(py::list(py::make_tuple(file)));
  const ImageHeader header = read_image_header(buffers.bytes(0));
  using namespace py::literals;
  return py::dict("format"_a = header.format, "width"_a = header.width, "height"_a = header.height,
                  "channels"_a = header.channels, "bit_depth"_a = header.bit_depth, "scans"_a = header.scans);
}

// The image in a file that a decoder can be trusted with: the same, or where it is a PNG file its essential
// part.
py::object checked_image(const py::buffer& file) {
  const Buffers buffers(py::list(py::make_tuple(file)));
  const Bytes bytes = buffers.bytes(0);
  if (!is_png(bytes)) {
    read_image_header(bytes);
    return file;
  }
  const std::vector<std::uint8_t> kept = essential_png(bytes);
  return py::bytes(reinterpret_cast<const char*>(kept.data()), kept.size());
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
        py::arg("mean_planar") = py::none(), py::arg("mean_interleaved") = py::none(), py::arg("first") = 0,
        "Crop, mirror, subtract the mean and scale: item i (a Datum record, or a decoded image as uint8 "
        "array of rows, columns and channels) into out[first + i], float32 of shape (N, C, H, W) and any "
        "strides, with the crop of that place. Returns what is wrong as a list of (index, message); such "
        "items are left as they were.");
  m.def("transform_stored", &transform_stored, py::arg("file"), py::arg("places"), py::arg("size"),
        py::arg("out").noconvert(), py::arg("labels").noconvert(), py::arg("h_off"), py::arg("w_off"),
        py::arg("mirror"), py::arg("scale"), py::arg("mean_values"), py::arg("mean_planar") = py::none(),
        py::arg("mean_interleaved") = py::none(),
        "Like transform_batch, of the Datum records at these places of a file, and with their labels. All "
        "must be readable, not encoded and of this size (channels, height, width): returns False if one is "
        "not, with the batch in an unknown state.");
  m.def("draw_below", &draw_below, py::arg("bound"), py::arg("seed"), py::arg("counters"), py::arg("draw"),
        "One integer of 0 .. bound - 1 for each counter; one bound for all, or one a counter.");
  m.def(
      "read_image_header", &read_header, py::arg("file"),
      "What a JPEG or PNG file says about itself. Raises ValueError for other formats and over the limits.");
  m.def("checked_image", &checked_image, py::arg("file"),
        "The JPEG or PNG file, or as much of it as makes its pixels, for the decoder. Raises ValueError as "
        "read_image_header does.");
  m.def(
      "check_image_size", [](std::uint32_t width, std::uint32_t height) { check_image_size(width, height); },
      py::arg("width"), py::arg("height"),
      "Raise ValueError for an image without pixels or over the limits.");
}

}  // namespace caffe
