/* Stands in for NVIDIA's driver, libcuda.so.1, where cuDNN plans for a GPU that is not there. cuDNN looks these
   functions up before it compiles a kernel, loads the kernel to see that it is whole, and runs nothing. There
   is no GPU; whatever is loaded is there. Only what is written is declared. */
#include <stddef.h>

enum { SUCCESS = 0, NO_DEVICE = 100 };

static int give(void** made) {
  static int something;
  *made = &something;
  return SUCCESS;
}
static int number(int* value, int n) {
  *value = n;
  return SUCCESS;
}

int cuInit(unsigned flags) { return flags ? SUCCESS : NO_DEVICE; }
int cuDriverGetVersion(int* version) { return number(version, 13000); }
int cuGetErrorName(int error, const char** text) { return *text = error ? "error" : "success", SUCCESS; }
int cuGetErrorString(int error, const char** text) { return cuGetErrorName(error, text); }

int cuCtxGetCurrent(void** context) { return give(context); }
int cuStreamGetCtx(void* stream, void** context) { return (void)stream, give(context); }
int cuDeviceGetCount(int* count) { return number(count, 1); }

int cuModuleLoadData(void** module) { return give(module); }
int cuModuleLoadDataEx(void** module) { return give(module); }
int cuModuleLoadFatBinary(void** module) { return give(module); }
int cuModuleUnload(void) { return SUCCESS; }
int cuModuleGetFunction(void** function) { return give(function); }
int cuModuleGetGlobal_v2(void** address, size_t* bytes) { return *bytes = 0, give(address); }
int cuFuncGetAttribute(int* value) { return number(value, 0); }
int cuFuncSetAttribute(void) { return SUCCESS; }
int cuLibraryLoadData(void** library) { return give(library); }
int cuLibraryLoadFromFile(void** library) { return give(library); }
int cuLibraryUnload(void) { return SUCCESS; }
int cuLibraryGetKernel(void** kernel) { return give(kernel); }
int cuKernelGetAttribute(int* value) { return number(value, 0); }
int cuKernelSetAttribute(void) { return SUCCESS; }
int cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks) { return number(blocks, 1); }
int cuOccupancyMaxPotentialClusterSize(int* blocks) { return number(blocks, 1); }
int cuTensorMapEncodeTiled(void) { return SUCCESS; }
int cuTensorMapEncodeIm2col(void) { return SUCCESS; }

#define ABSENT(function) \
  int function(void) { return NO_DEVICE; }
ABSENT(cuCtxGetDevice)
ABSENT(cuCtxGetLimit)
ABSENT(cuCtxPopCurrent)
ABSENT(cuCtxPushCurrent)
ABSENT(cuDeviceGet)
ABSENT(cuDeviceGetAttribute)
ABSENT(cuDevicePrimaryCtxRelease)
ABSENT(cuDevicePrimaryCtxReset)
ABSENT(cuDevicePrimaryCtxRetain)
ABSENT(cuLaunchCooperativeKernel)
ABSENT(cuLaunchKernel)
ABSENT(cuLaunchKernelEx)
ABSENT(cuLinkAddData)
ABSENT(cuLinkAddData_v2)
ABSENT(cuLinkAddFile_v2)
ABSENT(cuLinkComplete)
ABSENT(cuLinkCreate)
ABSENT(cuLinkCreate_v2)
ABSENT(cuLinkDestroy)
ABSENT(cuMemcpyDtoH_v2)
ABSENT(cuStreamSynchronize)
