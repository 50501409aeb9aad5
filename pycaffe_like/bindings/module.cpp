// The extension module: every other file of this folder adds its part.
#include <pybind11/pybind11.h>

namespace caffe {
void bind_data(pybind11::module_& m);
void bind_lmdb(pybind11::module_& m);
}  // namespace caffe

PYBIND11_MODULE(CAFFE_MODULE, m) {
  m.doc() = "C++ core: blobs, layers, the executor, batch transforms and solver updates.";
  caffe::bind_data(m);
  caffe::bind_lmdb(m);
}
