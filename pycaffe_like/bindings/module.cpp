// The extension module: every other file of this folder adds its part.
#include "bindings.hpp"
#include "core/error.hpp"
#include "core/parallel.hpp"

namespace py = pybind11;

// C++ errors become the Python classes of the same name.
static void translate_errors() {
  py::register_exception_translator([](std::exception_ptr error) {
    const auto raise = [](const char* name, const char* text) {
      const py::object type = py::module_::import("pycaffe_like.errors").attr(name);
      PyErr_SetObject(type.ptr(), type(text).ptr());
    };
    try {
      if (error) std::rethrow_exception(error);
    } catch (const caffe::ShapeError& shape) {
      raise("ShapeError", shape.what());
    } catch (const caffe::ConfigError& config) {
      raise("ConfigError", config.what());
    } catch (const caffe::DataError& data) {
      raise("DataError", data.what());
    } catch (const caffe::DeviceError& device) {
      raise("DeviceError", device.what());
    }
  });
}

PYBIND11_MODULE(CAFFE_MODULE, m) {
  m.doc() = "C++ core: blobs, layers, the executor, batch transforms and solver updates.";
  translate_errors();
  caffe::bind_accelerator(m);
  caffe::bind_device_array(m);
  caffe::bind_blob(m);  // after DeviceArray, which its signatures name
  caffe::bind_lmdb(m);
  caffe::bind_data(m);  // after LmdbFile, which its signatures name
  caffe::bind_layer(m);
  caffe::bind_executor(m);  // after Layer, which its signatures name
  caffe::bind_machine_peak(m);
  caffe::bind_solver(m);
  m.def("thread_count", &caffe::max_threads, "Number of OpenMP threads layers run on.");
}
