// Layers: created by type name, and written in Python by subclassing `Layer`.
#include <variant>

#include "bindings.hpp"
#include "core/accelerator.hpp"
#include "core/error.hpp"
#include "core/registry.hpp"

namespace py = pybind11;

namespace caffe {
namespace {

Args::Value to_value(const py::handle& value) {
  if (py::isinstance<py::bool_>(value)) return value.cast<bool>();
  if (py::isinstance<py::int_>(value)) return value.cast<int64_t>();
  if (py::isinstance<py::float_>(value)) return value.cast<double>();
  if (py::isinstance<py::str>(value)) return value.cast<std::string>();
  std::vector<int64_t> whole;
  std::vector<double> reals;
  bool all_whole = true;
  for (const auto& item : value) {
    all_whole = all_whole && py::isinstance<py::int_>(item);
    reals.push_back(item.cast<double>());
    if (all_whole) whole.push_back(item.cast<int64_t>());
  }
  if (all_whole) return whole;
  return reals;
}

Args to_args(const py::dict& keywords) {
  Args args;
  for (const auto& [name, value] : keywords) args.set(name.cast<std::string>(), to_value(value));
  return args;
}

// Around a method of a layer on the GPU that is written in Python. What it queues on CUDA's default stream
// runs in order with the layers around it, and it may look at NumPy arrays, which are brought up to date only
// between runs otherwise.
class Turn {
 public:
  Turn(const Blobs& bottom, const Blobs& top, const Blobs& params) {
    for (const Blobs* blobs : {&bottom, &top, &params})
      for (const BlobPtr& blob : *blobs)
        storages_.insert(storages_.end(), {&blob->data_storage(), &blob->diff_storage()});
    for (Storage* storage : storages_) storage->refresh();
    accelerator().precede(kDefaultStream);
  }
  void end() {
    accelerator().follow(kDefaultStream);
    for (Storage* storage : storages_) storage->publish();
  }

 private:
  std::vector<Storage*> storages_;
};

// A layer whose methods are written in Python; they hold the GIL while they run.
class PyLayer : public Layer, public py::trampoline_self_life_support {
 public:
  explicit PyLayer(const std::string& device) : device_(to_device(device)) {}

  Device device() const override { return device_; }
  bool recordable() const override { return false; }
  std::vector<Shape> top_shapes(const std::vector<Shape>& bottoms) const override {
    PYBIND11_OVERRIDE_PURE(std::vector<Shape>, Layer, top_shapes, bottoms);
  }
  std::vector<Shape> param_shapes(const std::vector<Shape>& bottoms) const override {
    PYBIND11_OVERRIDE(std::vector<Shape>, Layer, param_shapes, bottoms);
  }
  void reshape(const Blobs& bottom, const Blobs& top) override {
    PYBIND11_OVERRIDE(void, Layer, reshape, bottom, top);
  }
  size_t private_bytes(bool training) const override {
    PYBIND11_OVERRIDE(size_t, Layer, private_bytes, training);
  }
  void forward(const Context&, const Blobs& bottom, const Blobs& top) override {
    run(bottom, top, [&] { override_of("forward")(bottom, top); });
  }
  void backward(const Context&, const Blobs& top, const std::vector<bool>& propagate_down,
                const Blobs& bottom) override {
    run(bottom, top, [&] {
      if (const py::function method = override_of("backward")) method(top, propagate_down, bottom);
    });
  }

 private:
  py::function override_of(const char* name) const {
    return py::get_override(static_cast<const Layer*>(this), name);
  }

  template <class Body>
  void run(const Blobs& bottom, const Blobs& top, Body&& body) {
    std::optional<Turn> turn;
    if (device_ == Device::cuda) turn.emplace(bottom, top, params);
    {
      const py::gil_scoped_acquire gil;
      body();
    }
    if (turn) turn->end();
  }

  const Device device_;
};

// What a layer makes, learns and carries from one forward to the next.
struct LayerShapes {
  std::vector<Shape> tops, params, state;
};

LayerShapes shapes_of(const Layer& layer, const std::vector<Shape>& bottoms) {
  return {layer.top_shapes(bottoms), layer.param_shapes(bottoms), layer.state_shapes(bottoms)};
}

}  // namespace

Device to_device(const std::string& name) {
  if (name == "cpu") return Device::cpu;
  if (name == "cuda") return Device::cuda;
  throw ConfigError("unknown device '" + name + "'; known: cpu, cuda");
}

const char* name_of(Device device) { return device == Device::cpu ? "cpu" : "cuda"; }

void bind_layer(py::module_& m) {
  py::class_<LayerShapes>(m, "LayerShapes", "Shapes of what a layer makes, learns and carries.")
      .def_readonly("tops", &LayerShapes::tops)
      .def_readonly("params", &LayerShapes::params)
      .def_readonly("state", &LayerShapes::state);
  py::class_<Layer, PyLayer, py::smart_holder>(m, "Layer",
                                               "A layer object; subclass it to write one in Python.")
      .def(py::init_alias<const std::string&>(), py::arg("device") = "cpu")
      .def("top_shapes", &Layer::top_shapes, py::arg("bottoms"),
           "Shapes of the tops for bottoms of these shapes.")
      .def("param_shapes", &Layer::param_shapes, py::arg("bottoms"), "Shapes of the learned blobs.")
      .def_readwrite("params", &Layer::params)
      .def_readwrite("state", &Layer::state)
      .def_property_readonly("shapes_at_run_time", &Layer::shapes_at_run_time)
      .def_readwrite("param_propagate_down", &Layer::param_propagate_down)
      .def_readwrite("stream", &Layer::stream)
      .def_property_readonly("device", [](const Layer& l) { return name_of(l.device()); })
      .def_readwrite("shapes_its_tops", &Layer::shapes_its_tops)
      .def("private_bytes", &Layer::private_bytes, py::arg("training"));

  m.def(
      "create_layer",
      [](const std::string& type, const std::string& device, const py::dict& arguments) {
        return create_layer(type, to_device(device), to_args(arguments));
      },
      py::arg("type"), py::arg("device"), py::arg("arguments"), "Create a layer by type name.");
  m.def(
      "layer_shapes",
      [](const std::variant<std::string, std::shared_ptr<Layer>>& layer, const py::dict& arguments,
         const std::vector<Shape>& bottoms) {
        const auto* type = std::get_if<std::string>(&layer);
        return shapes_of(type ? *create_layer(*type, Device::cpu, to_args(arguments))
                              : *std::get<std::shared_ptr<Layer>>(layer),
                         bottoms);
      },
      py::arg("type"), py::arg("arguments"), py::arg("bottoms"),
      "Shapes of all that a layer makes, learns and carries, for bottoms of these shapes: of a type with "
      "these "
      "arguments, or of a layer that has started.");
  m.def(
      "registered_layers", [](const std::string& device) { return registered_layers(to_device(device)); },
      py::arg("device"), "Names of the types that have a kernel for the device, sorted.");
}

}  // namespace caffe
