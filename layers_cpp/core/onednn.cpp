#include "core/onednn.hpp"

#include "core/error.hpp"

namespace caffe {
namespace {

dnnl::stream& cpu_stream() {
  static thread_local dnnl::stream stream(cpu_engine());
  return stream;
}

void refuse_unsafe(const Shape& shape, DType type) {
  const int64_t elements = count(shape);
  if (elements == 0) throw ShapeError(message("an empty blob ", to_string(shape), " cannot be computed on"));
  if (elements > kMaxCount / static_cast<int64_t>(size_of(type)))
    throw ShapeError(message("blob ", to_string(shape), " has 2^31 bytes or more"));
}

dnnl::memory::dims plain_strides(const Shape& shape) {
  dnnl::memory::dims strides(shape.size());
  int64_t step = 1;
  for (size_t axis = shape.size(); axis-- > 0;) {
    strides[axis] = step;
    step *= shape[axis];
  }
  return strides;
}

}  // namespace

dnnl::engine& cpu_engine() {
  static dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

dnnl::memory::desc describe(const Blob& blob) {
  refuse_unsafe(blob.shape(), blob.dtype());
  if (blob.axes() == 0) return describe_plain({1}, blob.dtype());
  return {blob.shape(), onednn_type(blob.dtype()), blob.strides()};
}

dnnl::memory::desc describe_plain(const Shape& shape, DType type) {
  refuse_unsafe(shape, type);
  return {shape, onednn_type(type), plain_strides(shape)};
}

dnnl::memory::desc describe_any(const Shape& shape, DType type) {
  refuse_unsafe(shape, type);
  return {shape, onednn_type(type), dnnl::memory::format_tag::any};
}

dnnl::primitive_attr default_attr() {
  dnnl::primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attr;
}

void Primitive::bind(const dnnl::memory::desc& scratchpad,
                     const std::vector<std::pair<int, dnnl::memory::desc>>& arguments) {
  arguments_.clear();
  ordered_.clear();
  for (const auto& [index, desc] : arguments) {
    ordered_.emplace_back(desc, cpu_engine(), nullptr);
    arguments_[index] = ordered_.back();
  }
  scratch_bytes_ = scratchpad.get_size();
  if (scratch_bytes_ > 0) {
    scratchpad_ = dnnl::memory(scratchpad, cpu_engine(), nullptr);
    arguments_[DNNL_ARG_SCRATCHPAD] = scratchpad_;
  }
}

void Primitive::execute(const Context& context, std::span<void* const> pointers, size_t offset) {
  size_t position = 0;
  for (void* pointer : pointers) ordered_[position++].set_data_handle(pointer);
  if (scratch_bytes_ > 0) scratchpad_.set_data_handle(static_cast<char*>(context.scratch->data()) + offset);
  primitive_.execute(cpu_stream(), arguments_);
}

void Reordering::create(const dnnl::memory::desc& from, const dnnl::memory::desc& to, bool accumulate) {
  dnnl::primitive_attr attr = default_attr();
  if (accumulate) {
    dnnl::post_ops sum;
    sum.append_sum(1.0f);
    attr.set_post_ops(sum);
  }
  const dnnl::reorder::primitive_desc desc(cpu_engine(), from, cpu_engine(), to, attr);
  primitive_.create(desc, {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}});
}

}  // namespace caffe
