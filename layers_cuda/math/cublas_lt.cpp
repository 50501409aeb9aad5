// Matrix products by cuBLASLt. It counts along columns where we count along rows: what it sees of C = A B is
// the transpose of each, so it is asked for C^T = B^T A^T, and our B is its first factor.

#include "core/error.hpp"
#include "core/scratch.hpp"
#include "math/bias_relu.hpp"
#include "math/cublas_lt_api.hpp"
#include "math/matrix_product.hpp"

namespace caffe::cuda {
namespace {

constexpr size_t kWorkspaceLimit = size_t{32} << 20;  // what NVIDIA recommends for Hopper

template <class Handle>
using Owned = std::unique_ptr<std::remove_pointer_t<Handle>, cublasStatus_t (*)(Handle)>;
using Operation = Owned<cublasLtMatmulDesc_t>;
using Layout = Owned<cublasLtMatrixLayout_t>;
using Preference = Owned<cublasLtMatmulPreference_t>;

cudaDataType_t cuda_type(DType type) { return type == DType::float32 ? CUDA_R_32F : CUDA_R_16BF; }

// A row-by-row matrix.
Layout layout(DType type, int64_t rows, int64_t columns) {
  cublasLtMatrixLayout_t made = nullptr;
  cublas_lt().check(cublas_lt().create_layout(&made, cuda_type(type), static_cast<uint64_t>(columns),
                                              static_cast<uint64_t>(rows), columns),
                    "describing a matrix");
  return {made, cublas_lt().destroy_layout};
}

template <class T>
void set(const Operation& operation, cublasLtMatmulDescAttributes_t name, const T& value) {
  cublas_lt().check(cublas_lt().set_operation(operation.get(), name, &value, sizeof value),
                    "describing a product");
}

template <class T>
void set(const Preference& preference, cublasLtMatmulPreferenceAttributes_t name, const T& value) {
  cublas_lt().check(cublas_lt().set_preference(preference.get(), name, &value, sizeof value),
                    "choosing an algorithm");
}

cublasLtEpilogue_t epilogue(bool bias, bool relu) {
  if (bias) return relu ? CUBLASLT_EPILOGUE_RELU_BIAS : CUBLASLT_EPILOGUE_BIAS;
  return relu ? CUBLASLT_EPILOGUE_RELU : CUBLASLT_EPILOGUE_DEFAULT;
}

Operation operation(const MatrixProductSpec& spec, bool fused) {
  cublasLtMatmulDesc_t made = nullptr;
  const bool tf32 = spec.tf32 && spec.factors == DType::float32;
  cublas_lt().check(cublas_lt().create_operation(
                        &made, tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F, CUDA_R_32F),
                    "describing a product");
  Operation operation(made, cublas_lt().destroy_operation);
  set(operation, CUBLASLT_MATMUL_DESC_TRANSA, spec.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N);
  set(operation, CUBLASLT_MATMUL_DESC_TRANSB, spec.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N);
  if (!fused) return operation;
  set(operation, CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue(spec.bias, spec.relu));
  // Until the bias is known, an address that tells how it will be aligned.
  if (spec.bias) set(operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, uintptr_t{spec.alignment});
  return operation;
}

// Only algorithms that give the same bits at every run, and that round to the type of the product once.
Preference preference(uint32_t alignment) {
  cublasLtMatmulPreference_t made = nullptr;
  cublas_lt().check(cublas_lt().create_preference(&made), "choosing an algorithm");
  Preference preference(made, cublas_lt().destroy_preference);
  set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kWorkspaceLimit);
  set(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
      uint32_t{CUBLASLT_REDUCTION_SCHEME_NONE | CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE});
  for (const auto name :
       {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES})
    set(preference, name, alignment);
  return preference;
}

class CublasLtProduct : public MatrixProduct {
 public:
  explicit CublasLtProduct(const MatrixProductSpec& spec)
      : spec_(spec),
        a_(spec.transpose_a ? layout(spec.factors, spec.k, spec.m) : layout(spec.factors, spec.m, spec.k)),
        b_(spec.transpose_b ? layout(spec.factors, spec.n, spec.k) : layout(spec.factors, spec.k, spec.n)),
        c_(layout(spec.product, spec.m, spec.n)),
        fused_(can_fuse(spec)),
        operation_(operation(spec, fused_)) {
    if (choose()) return;
    fused_ = false;
    operation_ = operation(spec, fused_);
    if (!choose())
      throw DeviceError(message("cuBLASLt has no kernel for a product of ", spec.m, " x ", spec.k, " and ",
                                spec.k, " x ", spec.n, " matrices"));
  }

  void run(const Context& context, size_t used, const void* a, const void* b, const float* bias,
           void* c) override {
    if (fused_ && spec_.bias) set(operation_, CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
    Scratch scratch(context, used);
    void* workspace = scratch.take(workspace_bytes_);
    const float alpha = 1, beta = spec_.accumulate ? 1 : 0;
    cublas_lt().check(cublas_lt().matmul(cublas_lt_handle(), operation_.get(), &alpha, b, b_.get(), a,
                                         a_.get(), &beta, c, c_.get(), c, c_.get(), &algorithm_, workspace,
                                         workspace_bytes_, static_cast<cudaStream_t>(context.stream)),
                      "multiplying matrices");
    if (!fused_ && (spec_.bias || spec_.relu))
      add_bias_relu(context, spec_.product, spec_.m, spec_.n, bias, nullptr, spec_.relu, c);
  }
  size_t scratch_bytes() const override { return scratch_size(workspace_bytes_); }

 private:
  // cuBLASLt takes the bias in the type of the product only.
  static bool can_fuse(const MatrixProductSpec& spec) { return !spec.bias || spec.product == DType::float32; }

  // False if there is no algorithm.
  bool choose() {
    cublasLtMatmulHeuristicResult_t result{};
    int found = 0;
    const auto status =
        cublas_lt().get_heuristic(cublas_lt_handle(), operation_.get(), b_.get(), a_.get(), c_.get(),
                                  c_.get(), preference(spec_.alignment).get(), 1, &result, &found);
    if (status == CUBLAS_STATUS_NOT_SUPPORTED) return false;
    cublas_lt().check(status, "choosing an algorithm");
    if (found == 0) return false;
    algorithm_ = result.algo;
    workspace_bytes_ = result.workspaceSize;
    return true;
  }

  const MatrixProductSpec spec_;
  const Layout a_, b_, c_;
  bool fused_;
  Operation operation_;
  cublasLtMatmulAlgo_t algorithm_{};
  size_t workspace_bytes_ = 0;
};

}  // namespace

std::unique_ptr<MatrixProduct> make_matrix_product(const MatrixProductSpec& spec) {
  return std::make_unique<CublasLtProduct>(spec);
}

}  // namespace caffe::cuda
