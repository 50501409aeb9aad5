// The C structs of DLPack 1.0 (https://dmlc.github.io/dlpack), by which packages hand arrays to each other.
#pragma once

#include <cstdint>

namespace caffe::dlpack {

enum DeviceType : int32_t { kCuda = 2 };
enum TypeCode : uint8_t { kFloat = 2, kBfloat = 4 };

struct Device {
  DeviceType type;
  int32_t id;
};

struct DataType {
  TypeCode code;
  uint8_t bits;
  uint16_t lanes;
};

struct Tensor {
  void* data;
  Device device;
  int32_t ndim;
  DataType dtype;
  int64_t *shape, *strides;  // strides in elements
  uint64_t byte_offset;
};

// What a capsule of the name "dltensor" holds. Whoever takes it calls the deleter when he is done.
struct Managed {
  static constexpr const char* kName = "dltensor";

  Tensor tensor;
  void* context;
  void (*deleter)(Managed*);
};

struct Version {
  uint32_t major, minor;
};

// The same since DLPack 1.0.
struct ManagedVersioned {
  static constexpr const char* kName = "dltensor_versioned";

  Version version;
  void* context;
  void (*deleter)(ManagedVersioned*);
  uint64_t flags;
  Tensor tensor;
};

}  // namespace caffe::dlpack
