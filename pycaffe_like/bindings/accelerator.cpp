// The GPU of this process.
#include "core/accelerator.hpp"

#include "bindings.hpp"
#include "core/library_folders.hpp"

namespace py = pybind11;

namespace caffe {
namespace {

py::dict report() {
  const AcceleratorReport found = accelerator_queries().report();
  py::dict result;
  result["architectures"] = found.architectures;
  result["runtime_version"] = found.runtime_version;
  result["driver_version"] = found.driver_version;
  result["devices"] = found.devices;
  result["problem"] = found.problem;
  return result;
}

py::dict properties(int device) {
  const AcceleratorProperties found = accelerator_queries().properties(device);
  py::dict result;
  result["name"] = found.name;
  for (const auto& [name, value] : found.numbers) result[name.c_str()] = value;
  return result;
}

}  // namespace

void bind_accelerator(py::module_& m) {
  m.def("accelerator_built", &accelerator_built, "Whether this build has a GPU part.");
  m.def("accelerator_in_use", &accelerator_in_use, "Whether anything of this process is on the GPU.");
  m.def("choose_accelerator", &choose_accelerator, py::arg("device"),
        "Choose the GPU, counted from 0, before it is used.");
  m.def("chosen_accelerator", &chosen_accelerator, "Number of the GPU, used or not.");
  m.def(
      "set_library_folders", [](std::vector<std::string> folders) { library_folders() = std::move(folders); },
      py::arg("folders"), "Say where to look first for the GPU's libraries.");
  m.def("accelerator_report", &report,
        "What the GPU part was built with and finds here; throws DeviceError where it is not built.");
  m.def("accelerator_properties", &properties, py::arg("device"),
        "Properties of a GPU, which is not set up for that.");
  m.def(
      "accelerator_memory", [](int device) { return accelerator_queries().memory(device); },
      py::arg("device"), "Free and total bytes of a GPU.");
  m.def("use_accelerator", [] { accelerator(); }, "Set the GPU up; throws DeviceError where there is none.");
  m.def(
      "stream", [] { return reinterpret_cast<uintptr_t>(accelerator().stream()); },
      "Handle of the stream that work is queued on, a cudaStream_t.");
  m.def(
      "synchronize",
      [] {
        const py::gil_scoped_release release;
        if (accelerator_in_use()) accelerator().wait();
      },
      "Wait until all work on the GPU is done.");
}

}  // namespace caffe
