// Reading LMDB databases: see data/lmdb_file.hpp. Disk is waited for without the GIL.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl/filesystem.h>

#include <exception>
#include <filesystem>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "data/lmdb_file.hpp"

namespace py = pybind11;

namespace caffe {
namespace {

using Places = py::array_t<std::uint64_t, py::array::c_style | py::array::forcecast>;

py::bytes current_key(const LmdbCursor& cursor) {
  const auto key = cursor.key();
  return {reinterpret_cast<const char*>(key.data()), key.size()};
}

py::object current_record(const LmdbCursor& cursor, bool found) {
  if (!found) return py::none();
  const auto size = static_cast<py::ssize_t>(cursor.value_bytes());
  auto value = py::reinterpret_steal<py::bytes>(PyBytes_FromStringAndSize(nullptr, size));
  if (!value) throw py::error_already_set();
  auto* bytes = reinterpret_cast<std::uint8_t*>(PyBytes_AS_STRING(value.ptr()));
  {
    const py::gil_scoped_release no_gil;
    cursor.file().read(cursor.value_offset(), {bytes, static_cast<std::size_t>(size)});
  }
  return py::make_tuple(current_key(cursor), value);
}

template <typename Move>
auto without_gil(Move&& move) {
  const py::gil_scoped_release no_gil;
  return move();
}

py::object next_record(LmdbCursor& cursor) {
  return current_record(cursor, without_gil([&] { return cursor.next(); }));
}

py::object record_after(LmdbCursor& cursor, const py::bytes& key) {
  const std::string_view text(key);
  const std::span bytes(reinterpret_cast<const std::uint8_t*>(text.data()), text.size());
  return current_record(cursor, without_gil([&] { return cursor.after(bytes); }));
}

// Where the values of the next records are. Their keys are added to a list of the caller's, who so knows the
// last good one when there is damage behind it.
py::array_t<std::uint64_t> locate_records(LmdbCursor& cursor, std::size_t count, py::list& keys) {
  std::vector<std::uint64_t> places;
  std::vector<std::string> found;
  std::exception_ptr damage;
  without_gil([&] {
    try {
      while (found.size() < count && cursor.next()) {
        found.emplace_back(cursor.key().begin(), cursor.key().end());
        places.insert(places.end(), {cursor.value_offset(), cursor.value_bytes()});
      }
    } catch (const std::runtime_error&) {
      damage = std::current_exception();
    }
  });
  for (const std::string& key : found) keys.append(py::bytes(key));
  if (damage) std::rethrow_exception(damage);
  return py::array_t<std::uint64_t>({places.size() / 2, std::size_t{2}}, places.data());
}

// One value behind the other.
void read_values(const LmdbFile& file, const Places& places, py::array_t<std::uint8_t>& into) {
  if (places.ndim() != 2 || places.shape(1) != 2) throw py::value_error("places must have two columns");
  std::span<std::uint8_t> rest(into.mutable_data(), static_cast<std::size_t>(into.nbytes()));
  const auto place = places.unchecked<2>();
  const py::gil_scoped_release no_gil;
  for (py::ssize_t i = 0; i < place.shape(0); ++i) {
    if (place(i, 1) > rest.size()) throw std::invalid_argument("the values do not fit into the array");
    file.read(place(i, 0), rest.first(place(i, 1)));
    rest = rest.subspan(place(i, 1));
  }
}

// Counts as many moves as there were records left.
std::uint64_t skip_records(LmdbCursor& cursor, std::uint64_t count) {
  const py::gil_scoped_release no_gil;
  std::uint64_t done = 0;
  while (done < count && cursor.next()) ++done;
  return done;
}

}  // namespace

void bind_lmdb(py::module_& m) {
  py::class_<LmdbFile>(m, "LmdbFile", "An LMDB file, read without trust. Damage raises RuntimeError.")
      .def(py::init(
               [](const std::filesystem::path& path) { return std::make_unique<LmdbFile>(path.string()); }),
           py::arg("path"))
      .def("__len__", &LmdbFile::entries)
      .def("read", &read_values, py::arg("places"), py::arg("into").noconvert(),
           "Read the values at these places, one behind the other.");
  py::class_<LmdbCursor>(m, "LmdbCursor", "A place in an LMDB file; for one thread at a time.")
      .def(py::init<const LmdbFile&>(), py::arg("file"), py::keep_alive<1, 2>())
      .def("next", &next_record, "Key and value of the next record, None past the last.")
      .def("locate", &locate_records, py::arg("count"), py::arg("keys"),
           "Pass over records: adds their keys to a list and returns the places of their values in the file, "
           "one row (offset, bytes) a record; fewer than `count` at the end.")
      .def("skip", &skip_records, py::arg("count"), "Pass over records; returns how many there were.")
      .def("after", &record_after, py::arg("key"),
           "Key and value of the record that follows a key, or None.");
}

}  // namespace caffe
