// The GPU of this process.
#include "core/accelerator.hpp"

#include "bindings.hpp"
#include "core/library_folders.hpp"

namespace py = pybind11;

namespace caffe {

void bind_accelerator(py::module_& m) {
  m.def("accelerator_built", &accelerator_built, "Whether this build has a GPU part.");
  m.def("accelerator_in_use", &accelerator_in_use, "Whether anything of this process is on the GPU.");
  m.def("choose_accelerator", &choose_accelerator, py::arg("device"),
        "Choose the GPU, counted from 0, before it is used.");
  m.def(
      "set_library_folders", [](std::vector<std::string> folders) { library_folders() = std::move(folders); },
      py::arg("folders"), "Say where to look first for the GPU's libraries.");
  m.def("chosen_accelerator", &chosen_accelerator, "Number of the GPU, used or not.");
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
