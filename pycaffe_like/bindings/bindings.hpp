// What the files of this folder share.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "core/args.hpp"
#include "core/blob.hpp"

namespace caffe {

Device to_device(const std::string& name);  // throws ConfigError unless it is cpu or cuda
const char* name_of(Device device);

void bind_accelerator(pybind11::module_& m);
void bind_blob(pybind11::module_& m);
void bind_data(pybind11::module_& m);
void bind_device_array(pybind11::module_& m);
void bind_executor(pybind11::module_& m);
void bind_layer(pybind11::module_& m);
void bind_lmdb(pybind11::module_& m);
void bind_machine_peak(pybind11::module_& m);
void bind_solver(pybind11::module_& m);

}  // namespace caffe
