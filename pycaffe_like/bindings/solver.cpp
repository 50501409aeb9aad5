// The fused solver update.
#include "bindings.hpp"
#include "solver/update.hpp"

namespace py = pybind11;

namespace caffe {

void bind_solver(py::module_& m) {
  const auto no_gil = py::call_guard<py::gil_scoped_release>();
  py::class_<Updater>(m, "Updater", "Applies a solver's rule to all learnable params at once.")
      .def(py::init(&make_updater), py::arg("rule"), py::arg("params"), py::arg("lr_mults"),
           py::arg("decay_mults"))
      .def(
          "update",
          [](Updater& updater, float rate, float momentum, float momentum2, float rms_decay, float delta,
             float weight_decay, bool l1, float gradient_scale, int64_t iteration) {
            const py::gil_scoped_release release;
            updater.update(
                {rate, momentum, momentum2, rms_decay, delta, weight_decay, l1, gradient_scale, iteration});
          },
          py::kw_only(), py::arg("rate"), py::arg("momentum"), py::arg("momentum2"), py::arg("rms_decay"),
          py::arg("delta"), py::arg("weight_decay"), py::arg("l1"), py::arg("gradient_scale"),
          py::arg("iteration"), "One update: data -= change; the diffs hold the change afterwards.")
      .def("squared_gradient_norm", &Updater::squared_gradient_norm, no_gil)
      .def("clear_gradients", &Updater::clear_gradients, no_gil)
      .def_property_readonly("history", &Updater::history, "History blobs, in the order of a solver state.");
}

}  // namespace caffe
