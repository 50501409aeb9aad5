// cuBLASLt, loaded at its first use.
#pragma once

#include <cublasLt.h>

namespace caffe::cuda {

struct CublasLtApi {
  CublasLtApi();

  decltype(&cublasLtGetStatusString) get_status_string;
  decltype(&cublasLtCreate) create;
  decltype(&cublasLtMatmul) matmul;
  decltype(&cublasLtMatmulAlgoGetHeuristic) get_heuristic;
  decltype(&cublasLtMatmulDescCreate) create_operation;
  decltype(&cublasLtMatmulDescDestroy) destroy_operation;
  decltype(&cublasLtMatmulDescSetAttribute) set_operation;
  decltype(&cublasLtMatrixLayoutCreate) create_layout;
  decltype(&cublasLtMatrixLayoutDestroy) destroy_layout;
  decltype(&cublasLtMatmulPreferenceCreate) create_preference;
  decltype(&cublasLtMatmulPreferenceDestroy) destroy_preference;
  decltype(&cublasLtMatmulPreferenceSetAttribute) set_preference;

  // Throws DeviceError unless `status` is success; `what` was being done.
  void check(cublasStatus_t status, const char* what) const;
};

const CublasLtApi& cublas_lt();

// Of the process's GPU; may be used by several threads at once.
cublasLtHandle_t cublas_lt_handle();

}  // namespace caffe::cuda
