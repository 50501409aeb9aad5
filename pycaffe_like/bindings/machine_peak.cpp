// The machine's peaks, for rooflines.
#include "core/machine_peak.hpp"

#include "bindings.hpp"

namespace py = pybind11;

namespace caffe {

void bind_machine_peak(py::module_& m) {
  const auto no_gil = py::call_guard<py::gil_scoped_release>();
  m.def(
      "peak_gflops",
      [](const std::string& dtype) {
        return peak_gflops(dtype == "bfloat16" ? DType::bfloat16 : DType::float32);
      },
      py::arg("dtype"), no_gil,
      "Multiply-adds on registers on all threads, in GFLOP/s; 0 if the processor has none of this type.");
  m.def("copy_gbytes_per_second", &copy_gbytes_per_second, py::arg("bytes"), no_gil,
        "Copies between two arrays that together have `bytes`, in GB/s; reads and writes both count.");
}

}  // namespace caffe
