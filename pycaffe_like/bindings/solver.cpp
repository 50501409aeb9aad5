// The fused solver update.
#include "bindings.hpp"
#include "solver/training_step.hpp"

namespace py = pybind11;

namespace caffe {

void bind_solver(py::module_& m) {
  const auto no_gil = py::call_guard<py::gil_scoped_release>();
  py::class_<UpdateSettings>(m, "UpdateSettings", "What all params of one update have in common.")
      .def(py::init([](float rate, float momentum, float momentum2, float rms_decay, float delta,
                       float weight_decay, bool l1, double gradient_scale, int64_t iteration,
                       float clip_gradients) {
             return UpdateSettings{rate,         momentum, momentum2,      rms_decay,      delta,
                                   weight_decay, l1,       gradient_scale, clip_gradients, iteration};
           }),
           py::kw_only(), py::arg("rate"), py::arg("momentum"), py::arg("momentum2"), py::arg("rms_decay"),
           py::arg("delta"), py::arg("weight_decay"), py::arg("l1"), py::arg("gradient_scale"),
           py::arg("iteration"), py::arg("clip_gradients") = -1.0f);

  py::class_<Updater>(m, "Updater", "Applies a solver's rule to all learnable params at once.")
      .def(py::init(&make_updater), py::arg("rule"), py::arg("params"), py::arg("lr_mults"),
           py::arg("decay_mults"))
      .def("update", &Updater::update, no_gil, py::arg("settings"),
           "One update: data -= change; the diffs hold the change afterwards. Returns the gradients' L2 norm "
           "if they may be clipped, else 0.")
      .def("clear_gradients", &Updater::clear_gradients, no_gil)
      .def_property_readonly("history", &Updater::history, "History blobs, in the order of a solver state.");

  py::class_<TrainingStep>(m, "TrainingStep",
                           "One iteration on the GPU, queued at once and recorded when it repeats.")
      .def(py::init<Executor&, Updater&>(), py::arg("executor"), py::arg("updater"), py::keep_alive<1, 2>(),
           py::keep_alive<1, 3>())
      .def_property_readonly("executor", &TrainingStep::executor, py::return_value_policy::reference)
      .def("run", &TrainingStep::run, no_gil, py::arg("settings"), py::arg("passes") = 1,
           "Clear the gradients, run so many passes forward and backward, update; returns a number for "
           "`wait`.")
      .def(
          "wait",
          [](TrainingStep& step, int64_t iteration) {
            const auto [loss, norm] = step.wait(iteration);
            return std::pair(loss, norm);
          },
          no_gil, py::arg("iteration"),
          "Wait for that run and return its mean loss, and the gradients' L2 norm if they may be clipped, "
          "else 0; both are kept until four more have run.")
      .def_property_readonly("repeated", &TrainingStep::repeated,
                             "Whether the last run repeated a recording.");

  m.def("solver_rules", solver_rules, "Names of all solver types that have a rule, sorted.");
  m.def("history_sets", history_sets, py::arg("rule"), "Arrays of history that a rule has for each param.");
}

}  // namespace caffe
