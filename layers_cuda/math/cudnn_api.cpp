#include "math/cudnn_api.hpp"

#include "core/library.hpp"

namespace caffe::cuda {

namespace {

constexpr int kCudaGeneration = CUDART_VERSION / 1000;

// cuDNN compiles some kernels when it plans; the compiler looks for this part of it only where the system
// keeps libraries.
void load_kernel_compiler() {
  const Library nvrtc(message("libnvrtc.so.", kCudaGeneration));
  int (*get_version)(int* major, int* minor);
  nvrtc.find("nvrtcVersion", get_version);
  int major = 0, minor = 0;
  get_version(&major, &minor);
  const Library headers(message("libnvrtc-builtins.so.", major, ".", minor));
}

}  // namespace

CudnnApi::CudnnApi() {
  // cuDNN loads what it needs itself, but not every version looks where pip puts it. Without the first it
  // ends the process, without the second it has few fused convolutions.
  const Library cublas_lt(message("libcublasLt.so.", kCudaGeneration));
  load_kernel_compiler();
  const Library library(message("libcudnn.so.", CUDNN_MAJOR));
  library.find("cudnnGetVersion", get_version);
  library.find("cudnnGetErrorString", get_error_string);
  library.find("cudnnGetLastErrorString", get_last_error_string);
  library.find("cudnnCreate", create);
  library.find("cudnnSetStream", set_stream);
  library.find("cudnnBackendCreateDescriptor", create_descriptor);
  library.find("cudnnBackendDestroyDescriptor", destroy_descriptor);
  library.find("cudnnBackendFinalize", finalize);
  library.find("cudnnBackendSetAttribute", set_attribute);
  library.find("cudnnBackendGetAttribute", get_attribute);
  library.find("cudnnBackendExecute", execute);
  // A program made for one version runs with later ones of the same generation, not with earlier ones.
  if (get_version() < CUDNN_VERSION)
    throw DeviceError(message("cuDNN ", CUDNN_VERSION, " or newer is needed, found ", get_version(),
                              "\n  install it with: pip install \"pycaffe-like[cuda]\""));
}

void CudnnApi::check(cudnnStatus_t status, const char* what) const {
  if (status == CUDNN_STATUS_SUCCESS) return;
  char details[1024] = "";
  get_last_error_string(details, sizeof details);
  const std::string text = message("cuDNN, ", what, ": ", get_error_string(status), "\n  ", details);
  if (CUDNN_STATUS_CATEGORY(status) == CUDNN_STATUS_NOT_SUPPORTED ||
      status == CUDNN_STATUS_INTERNAL_ERROR_COMPILATION_FAILED)
    throw Unsupported(text);
  throw DeviceError(text);
}

const CudnnApi& cudnn() {
  static const CudnnApi api;
  return api;
}

Descriptor::Descriptor(cudnnBackendDescriptorType_t type) {
  cudnn().check(cudnn().create_descriptor(type, &handle_), "creating a descriptor");
}

Descriptor::~Descriptor() {
  if (handle_) cudnn().destroy_descriptor(handle_);
}

void Descriptor::finalize() { cudnn().check(cudnn().finalize(handle_), "finalizing a descriptor"); }

void Descriptor::set(cudnnBackendAttributeName_t name, const std::vector<const Descriptor*>& values) {
  std::vector<cudnnBackendDescriptor_t> handles;
  for (const Descriptor* value : values) handles.push_back(value->handle_);
  set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, std::ssize(handles), handles.data());
}

void Descriptor::set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t count,
                     const void* values) {
  cudnn().check(cudnn().set_attribute(handle_, name, type, count, values), "setting an attribute");
}

int64_t Descriptor::get(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t count,
                        void* values) const {
  int64_t available = 0;
  cudnn().check(cudnn().get_attribute(handle_, name, type, count, &available, values),
                "reading an attribute");
  return available;
}

Descriptor Descriptor::get_descriptor(cudnnBackendAttributeName_t name,
                                      cudnnBackendDescriptorType_t type) const {
  Descriptor value(type);  // cuDNN fills what exists
  get(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value.handle_);
  return value;
}

std::vector<Descriptor> Descriptor::get_descriptors(cudnnBackendAttributeName_t name,
                                                    cudnnBackendDescriptorType_t type, size_t at_most) const {
  std::vector<Descriptor> values;
  std::vector<cudnnBackendDescriptor_t> handles;
  while (values.size() < at_most) handles.push_back(values.emplace_back(type).handle_);
  const int64_t found = get(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, std::ssize(handles), handles.data());
  values.erase(values.begin() + found, values.end());
  return values;
}

}  // namespace caffe::cuda
