#include "math/cublas_lt_api.hpp"

#include "core/accelerator.hpp"
#include "core/error.hpp"
#include "core/library.hpp"

namespace caffe::cuda {

CublasLtApi::CublasLtApi() {
  const Library library(message("libcublasLt.so.", CUBLAS_VER_MAJOR));
  library.find("cublasLtGetStatusString", get_status_string);
  library.find("cublasLtCreate", create);
  library.find("cublasLtMatmul", matmul);
  library.find("cublasLtMatmulAlgoGetHeuristic", get_heuristic);
  library.find("cublasLtMatmulDescCreate", create_operation);
  library.find("cublasLtMatmulDescDestroy", destroy_operation);
  library.find("cublasLtMatmulDescSetAttribute", set_operation);
  library.find("cublasLtMatrixLayoutCreate", create_layout);
  library.find("cublasLtMatrixLayoutDestroy", destroy_layout);
  library.find("cublasLtMatmulPreferenceCreate", create_preference);
  library.find("cublasLtMatmulPreferenceDestroy", destroy_preference);
  library.find("cublasLtMatmulPreferenceSetAttribute", set_preference);
}

void CublasLtApi::check(cublasStatus_t status, const char* what) const {
  if (status != CUBLAS_STATUS_SUCCESS)
    throw DeviceError(message("cuBLASLt, ", what, ": ", get_status_string(status)));
}

const CublasLtApi& cublas_lt() {
  static const CublasLtApi api;
  return api;
}

// Never destroyed: at the end of the process CUDA may be gone first.
cublasLtHandle_t cublas_lt_handle() {
  static const cublasLtHandle_t handle = [] {
    accelerator();  // makes its device that of this thread
    cublasLtHandle_t made = nullptr;
    cublas_lt().check(cublas_lt().create(&made), "setting up");
    return made;
  }();
  return handle;
}

}  // namespace caffe::cuda
