// The executor, called without the GIL.
#include "core/executor.hpp"

#include "bindings.hpp"

namespace py = pybind11;

namespace caffe {

void bind_executor(py::module_& m) {
  py::class_<Step>(m, "Step", "One planned call of a layer.")
      .def(
          py::init([](std::string name, std::shared_ptr<Layer> layer, Blobs bottoms, Blobs tops,
                      std::vector<float> loss_weights, std::vector<bool> propagate_down, bool need_backward) {
            return Step{
                std::move(name),         std::move(layer),          std::move(bottoms), std::move(tops),
                std::move(loss_weights), std::move(propagate_down), need_backward,      {}};
          }),
          py::kw_only(), py::arg("name"), py::arg("layer"), py::arg("bottoms"), py::arg("tops"),
          py::arg("loss_weights"), py::arg("propagate_down"), py::arg("need_backward"));

  const auto no_gil = py::call_guard<py::gil_scoped_release>();
  py::class_<Executor>(m, "Executor", "Runs planned steps forward and backward.")
      .def(py::init<std::vector<Step>, uint64_t>(), py::arg("steps"), py::arg("seed"))
      .def("reshape", &Executor::reshape, no_gil, "Bring all shapes up to date without computing.")
      .def("forward", &Executor::forward, py::arg("begin"), py::arg("end"), no_gil,
           "Run steps [begin, end); returns their loss.")
      .def("backward", &Executor::backward, py::arg("begin"), py::arg("end"), py::arg("all") = false, no_gil,
           "Run steps [begin, end) backward, from the last to the first.")
      .def("recompute_before", &Executor::recompute_before, py::arg("step"), py::arg("again"),
           "Run the steps `again` forward before the backward of `step`: what they made was overwritten.")
      .def("__len__", &Executor::size)
      .def_readwrite("seed", &Executor::seed)
      .def_readwrite("iteration", &Executor::iteration, "Number of the forward pass, for random numbers.")
      .def_readwrite("check_finite", &Executor::check_finite)
      .def_readwrite("timing", &Executor::timing)
      .def_readonly("forward_ms", &Executor::forward_ms)
      .def_readonly("backward_ms", &Executor::backward_ms)
      .def(
          "scratch_bytes",
          [](const Executor& executor, const std::string& device) {
            return executor.scratch_bytes(to_device(device));
          },
          py::arg("device"), "Bytes of the buffer that layers on that device take turns to use.");
}

}  // namespace caffe
