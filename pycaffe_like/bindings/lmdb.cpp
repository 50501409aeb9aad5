// Reading LMDB databases: see core/lmdb_file.hpp. Disk is waited for without the GIL.
#include <pybind11/pybind11.h>
#include <pybind11/stl/filesystem.h>

#include <filesystem>
#include <memory>
#include <string_view>

#include "core/lmdb_file.hpp"

namespace py = pybind11;

namespace caffe {
namespace {

py::object current_record(const LmdbCursor& cursor, bool found) {
  if (!found) return py::none();
  const auto key = cursor.key();
  py::bytes name(reinterpret_cast<const char*>(key.data()), key.size());
  const auto size = static_cast<py::ssize_t>(cursor.value_bytes());
  auto value = py::reinterpret_steal<py::bytes>(PyBytes_FromStringAndSize(nullptr, size));
  if (!value) throw py::error_already_set();
  auto* bytes = reinterpret_cast<std::uint8_t*>(PyBytes_AS_STRING(value.ptr()));
  {
    const py::gil_scoped_release no_gil;
    cursor.read_value({bytes, static_cast<std::size_t>(size)});
  }
  return py::make_tuple(name, value);
}

template <typename Move>
bool without_gil(Move&& move) {
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
      .def("__len__", &LmdbFile::entries);
  py::class_<LmdbCursor>(m, "LmdbCursor", "A place in an LMDB file; for one thread at a time.")
      .def(py::init<const LmdbFile&>(), py::arg("file"), py::keep_alive<1, 2>())
      .def("next", &next_record, "Key and value of the next record, None past the last.")
      .def("skip", &skip_records, py::arg("count"), "Pass over records; returns how many there were.")
      .def("after", &record_after, py::arg("key"),
           "Key and value of the record that follows a key, or None.");
}

}  // namespace caffe
