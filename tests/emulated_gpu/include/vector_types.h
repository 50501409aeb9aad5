// Stand-in for the header of the same name: small vectors, and the size of a launch.
#pragma once

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

#define CAFFE_EMULATED_VECTOR(T, name)                                               \
  struct alignas(2 * sizeof(T)) name##2 { T x, y; };                                 \
  struct name##3 { T x, y, z; };                                                     \
  struct alignas(4 * sizeof(T) < 16 ? 4 * sizeof(T) : 16) name##4 { T x, y, z, w; }; \
  constexpr name##2 make_##name##2(T x, T y) { return {x, y}; }                      \
  constexpr name##3 make_##name##3(T x, T y, T z) { return {x, y, z}; }              \
  constexpr name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }

CAFFE_EMULATED_VECTOR(float, float)
CAFFE_EMULATED_VECTOR(double, double)
CAFFE_EMULATED_VECTOR(int, int)
CAFFE_EMULATED_VECTOR(unsigned, uint)
CAFFE_EMULATED_VECTOR(short, short)
CAFFE_EMULATED_VECTOR(unsigned short, ushort)
CAFFE_EMULATED_VECTOR(unsigned char, uchar)
CAFFE_EMULATED_VECTOR(long long, longlong)
CAFFE_EMULATED_VECTOR(unsigned long long, ulonglong)

#undef CAFFE_EMULATED_VECTOR
