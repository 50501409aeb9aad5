// A thin layer over oneDNN: descriptors for blobs, and a primitive that is executed on raw pointers.
#pragma once

#include <initializer_list>
#include <oneapi/dnnl/dnnl.hpp>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/layer.hpp"

namespace caffe {

dnnl::engine& cpu_engine();

inline dnnl::memory::data_type onednn_type(DType type) {
  return type == DType::float32 ? dnnl::memory::data_type::f32 : dnnl::memory::data_type::bf16;
}

// The blob's own shape, type and strides. Refuses what oneDNN 3.2 is not safe with: empty blobs and blobs of
// 2^31 bytes or more.
dnnl::memory::desc describe(const Blob& blob);
// The same memory seen under another shape of equal count; plain (C-contiguous) strides.
dnnl::memory::desc describe_plain(const Shape& shape, DType type);
// A layout of oneDNN's choice.
dnnl::memory::desc describe_any(const Shape& shape, DType type);

// Attributes every primitive here is made with: scratch memory is handed in by the executor.
dnnl::primitive_attr default_attr();

// A primitive with the memory objects of its arguments; made at reshape, executed without allocations.
class Primitive {
 public:
  Primitive() = default;

  // `arguments` lists what execute() will be given, in that order.
  template <class PrimitiveDesc>
  void create(const PrimitiveDesc& desc, const std::vector<std::pair<int, dnnl::memory::desc>>& arguments) {
    primitive_ = dnnl::primitive(desc.get());
    bind(desc.scratchpad_desc(), arguments);
  }
  explicit operator bool() const { return static_cast<bool>(primitive_); }
  void clear() { primitive_ = dnnl::primitive(); }

  size_t scratch_bytes() const { return scratch_bytes_; }
  // `offset`: bytes of the context's scratch that the caller uses itself.
  void execute(const Context& context, std::span<void* const> pointers, size_t offset = 0);
  void execute(const Context& context, std::initializer_list<void*> pointers, size_t offset = 0) {
    execute(context, std::span<void* const>(pointers.begin(), pointers.size()), offset);
  }

 private:
  void bind(const dnnl::memory::desc& scratchpad,
            const std::vector<std::pair<int, dnnl::memory::desc>>& arguments);

  dnnl::primitive primitive_{};
  std::unordered_map<int, dnnl::memory> arguments_;
  std::vector<dnnl::memory> ordered_;
  dnnl::memory scratchpad_;
  size_t scratch_bytes_ = 0;
};

// Makes dst = src, or dst += src, between two layouts or types of one shape.
class Reordering {
 public:
  void create(const dnnl::memory::desc& from, const dnnl::memory::desc& to, bool accumulate = false);
  void execute(const Context& context, void* from, void* to, size_t offset = 0) {
    primitive_.execute(context, {from, to}, offset);
  }
  size_t scratch_bytes() const { return primitive_.scratch_bytes(); }

 private:
  Primitive primitive_;
};

}  // namespace caffe
