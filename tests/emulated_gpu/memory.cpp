// Memory of the device, and memory of the host it can reach. Each piece is exactly as large as was asked for,
// so that the address sanitizer finds what lies outside. New memory is full of NaN.
#include "memory.hpp"

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <vector>

#include "block.hpp"
#include "core/error.hpp"
#include "error.hpp"
#include "stream.hpp"

using namespace caffe::emulation;

namespace {

constexpr size_t kTotal = size_t(16) << 30, kAlignment = 256;
constexpr int kGarbage = 0xff;

struct Piece {
  size_t bytes;
  cudaMemoryType type;
};

// By address. Never destroyed: memory may be freed until the process ends.
std::map<const char*, Piece>& pieces() {
  static auto* pieces = new std::map<const char*, Piece>;
  return *pieces;
}

size_t device_bytes() {
  size_t bytes = 0;
  for (const auto& [address, piece] : pieces())
    if (piece.type == cudaMemoryTypeDevice) bytes += piece.bytes;
  return bytes;
}

// The piece in which the address lies, or the end of pieces().
auto find(const void* address) {
  auto& all = pieces();
  auto after = all.upper_bound(static_cast<const char*>(address));
  if (after == all.begin()) return all.end();
  --after;
  return static_cast<const char*>(address) < after->first + after->second.bytes ? after : all.end();
}

cudaMemoryType type_of(const void* address) {
  const auto piece = find(address);
  return piece == pieces().end() ? cudaMemoryTypeUnregistered : piece->second.type;
}

// False where the bytes leave the piece they begin in.
bool inside(const void* address, size_t bytes) {
  const auto piece = find(address);
  return piece == pieces().end() ||
         static_cast<const char*>(address) + bytes <= piece->first + piece->second.bytes;
}

cudaError_t allocate(void** memory, size_t bytes, cudaMemoryType type) {
  const Lock lock;
  *memory = nullptr;
  if (const cudaError_t error = refuse_in_any_capture()) return error;
  if (bytes == 0) return cudaSuccess;
  if (type == cudaMemoryTypeDevice && bytes > kTotal - device_bytes())
    return report(cudaErrorMemoryAllocation);
  if (posix_memalign(memory, kAlignment, bytes) != 0) return report(cudaErrorMemoryAllocation);
  std::memset(*memory, kGarbage, bytes);
  pieces()[static_cast<char*>(*memory)] = {bytes, type};
  return cudaSuccess;
}

// CUDA waits for the device before it frees memory.
cudaError_t release(void* memory, cudaMemoryType type) {
  const Lock lock;
  if (memory == nullptr) return cudaSuccess;
  const auto piece = pieces().find(static_cast<char*>(memory));
  if (piece == pieces().end() || piece->second.type != type) return report(cudaErrorInvalidValue);
  if (const cudaError_t error = refuse_in_any_capture()) return error;
  const cudaError_t error = finish_all();
  pieces().erase(piece);
  std::free(memory);
  return error;
}

bool fits(cudaMemcpyKind kind, cudaMemoryType to, cudaMemoryType from) {
  const bool to_device = to == cudaMemoryTypeDevice, from_device = from == cudaMemoryTypeDevice;
  switch (kind) {
    case cudaMemcpyHostToHost:
      return !to_device && !from_device;
    case cudaMemcpyHostToDevice:
      return to_device && !from_device;
    case cudaMemcpyDeviceToHost:
      return !to_device && from_device;
    case cudaMemcpyDeviceToDevice:
      return to_device && from_device;
    case cudaMemcpyDefault:
      return true;
  }
  return false;
}

// What a graph does must not depend on memory that CUDA copies from or to at the call already.
cudaError_t check_copy(const void* to, const void* from, size_t to_bytes, size_t from_bytes,
                       cudaMemcpyKind kind, cudaStream_t stream) {
  const cudaMemoryType to_type = type_of(to), from_type = type_of(from);
  if (!inside(to, to_bytes) || !inside(from, from_bytes)) return report(cudaErrorInvalidValue);
  if (!fits(kind, to_type, from_type)) return report(cudaErrorInvalidMemcpyDirection);
  if (to_type == cudaMemoryTypeUnregistered || from_type == cudaMemoryTypeUnregistered)
    return refuse_in_capture(stream);
  return cudaSuccess;
}

struct Rows {
  size_t width, height, to_pitch, from_pitch;
};

void copy_rows(char* to, const char* from, const Rows& rows) {
  for (size_t i = 0; i < rows.height; ++i)
    std::memcpy(to + i * rows.to_pitch, from + i * rows.from_pitch, rows.width);
}

// Pageable memory of the host is read before the call returns, or written before it returns.
cudaError_t queue_copy(char* to, const char* from, const Rows& rows, cudaMemcpyKind kind,
                       cudaStream_t stream) {
  if (rows.width == 0 || rows.height == 0) return cudaSuccess;
  if (rows.width > rows.to_pitch || rows.width > rows.from_pitch) return report(cudaErrorInvalidValue);
  const size_t to_bytes = (rows.height - 1) * rows.to_pitch + rows.width;
  const size_t from_bytes = (rows.height - 1) * rows.from_pitch + rows.width;
  if (const cudaError_t error = check_copy(to, from, to_bytes, from_bytes, kind, stream)) return error;
  if (type_of(from) == cudaMemoryTypeUnregistered) {
    const std::vector<char> read(from, from + from_bytes);
    const cudaError_t error = enqueue(stream, [=] { copy_rows(to, read.data(), rows); });
    if (error != cudaSuccess) return error;
  } else if (const cudaError_t error = enqueue(stream, [=] { copy_rows(to, from, rows); })) {
    return error;
  }
  return type_of(to) == cudaMemoryTypeUnregistered ? finish(stream) : cudaSuccess;
}

}  // namespace

void caffe::emulation::require_reachable(const std::string& name, const std::vector<const void*>& arrays) {
  const Lock lock;
  for (const void* array : arrays)
    if (type_of(array) == cudaMemoryTypeUnregistered)
      throw KernelFailure(message(name, ": an array is memory of the host, or has been freed"));
}

cudaError_t cudaMalloc(void** memory, size_t bytes) { return allocate(memory, bytes, cudaMemoryTypeDevice); }

cudaError_t cudaFree(void* memory) { return release(memory, cudaMemoryTypeDevice); }

cudaError_t cudaMallocHost(void** memory, size_t bytes) {
  return allocate(memory, bytes, cudaMemoryTypeHost);
}

cudaError_t cudaHostAlloc(void** memory, size_t bytes, unsigned /*flags*/) {
  return cudaMallocHost(memory, bytes);
}

cudaError_t cudaFreeHost(void* memory) { return release(memory, cudaMemoryTypeHost); }

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  const Lock lock;
  *total = kTotal;
  *free = kTotal - device_bytes();
  return cudaSuccess;
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* memory) {
  const Lock lock;
  void* address = const_cast<void*>(memory);
  const cudaMemoryType type = type_of(memory);
  *attributes = {type, type == cudaMemoryTypeUnregistered ? -1 : 0,
                 type == cudaMemoryTypeUnregistered ? nullptr : address,
                 type == cudaMemoryTypeDevice ? nullptr : address};
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  return cudaMemcpy2DAsync(to, bytes, from, bytes, bytes, 1, kind, stream);
}

cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width,
                              size_t height, cudaMemcpyKind kind, cudaStream_t stream) {
  const Lock lock;
  return queue_copy(static_cast<char*>(to), static_cast<const char*>(from),
                    {width, height, to_pitch, from_pitch}, kind, stream);
}

cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  const Lock lock;
  if (const cudaError_t error = refuse_in_any_capture()) return error;
  if (const cudaError_t error = cudaMemcpyAsync(to, from, bytes, kind)) return error;
  return finish(nullptr);
}

cudaError_t cudaMemsetAsync(void* memory, int value, size_t bytes, cudaStream_t stream) {
  const Lock lock;
  if (bytes == 0) return cudaSuccess;
  if (type_of(memory) == cudaMemoryTypeUnregistered || !inside(memory, bytes))
    return report(cudaErrorInvalidValue);
  return enqueue(stream, [=] { std::memset(memory, value, bytes); });
}

cudaError_t cudaMemset(void* memory, int value, size_t bytes) {
  const Lock lock;
  if (const cudaError_t error = refuse_in_any_capture()) return error;
  return cudaMemsetAsync(memory, value, bytes);
}
