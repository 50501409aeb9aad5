// Convolution by Winograd's minimal filtering, for square kernels of 3 or 5 with stride 1, channels-last:
// 2.8 to 4 times fewer multiplications than the direct sum, at about twice its rounding error.
//
// An image is cut into tiles: windows of 6 x 6 inputs that give (7 - kernel) x (7 - kernel) outputs. Tiles
// and kernels are transformed to 36 values each (winograd_points.hpp); for each of the 36, tiles x channels
// times channels x outputs is a matrix product; 36 products of a tile and an output transform back to its
// outputs. The gradient of the data is the same with turned kernels; the gradient of the weights correlates
// the windows with the tiles of dy. All arithmetic is float32, blobs are float32 or bfloat16.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/dtype.hpp"

namespace caffe {

struct WinogradShape {
  int64_t images, groups, kernel;
  int64_t channels, height, width;         // of x, all groups together
  int64_t outputs, out_height, out_width;  // of y
  int64_t pad_height, pad_width;

  // The convolution that takes dy to dx.
  WinogradShape turned() const {
    return {images,
            groups,
            kernel,
            outputs,
            out_height,
            out_width,
            channels,
            height,
            width,
            kernel - 1 - pad_height,
            kernel - 1 - pad_width};
  }
  // Outputs of a tile along an axis.
  int64_t tile() const { return 7 - kernel; }
  int64_t tiles() const {
    return images * ((out_height + tile() - 1) / tile()) * ((out_width + tile() - 1) / tile());
  }
};

// Transformed kernels: floats that winograd_pack() writes, and winograd_convolve() reads.
int64_t winograd_packed_floats(const WinogradShape& shape);
// `weights` is plain, (outputs, channels / groups, kernel, kernel).
void winograd_pack(const WinogradShape& shape, const float* weights, float* packed);
// The same for shape = forward.turned(), from the forward convolution's plain weights.
void winograd_pack_turned(const WinogradShape& shape, const float* weights, float* packed);

// What becomes of a sum of products: max(0, .) of sum + bias + addend. Null pointers are left out.
template <class T>
struct WinogradFinish {
  const float* bias = nullptr;
  const T* addend = nullptr;  // like y
  bool relu = false;
};

// y = correlation of x with the packed kernels, finished.
size_t winograd_convolve_scratch_bytes(const WinogradShape& shape);
template <class T>
void winograd_convolve(const WinogradShape& shape, const T* x, const float* packed,
                       const WinogradFinish<T>& finish, T* y, void* scratch);

// dw = correlation of x and dy, plain, or added where `add`; db = sums of dy, unless null.
size_t winograd_learn_scratch_bytes(const WinogradShape& shape);
template <class T>
void winograd_learn(const WinogradShape& shape, const T* x, const T* dy, float* dw, bool add, float* db,
                    void* scratch);

}  // namespace caffe
