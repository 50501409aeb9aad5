#include "core/plan_file.hpp"

#include <array>
#include <cstring>
#include <fstream>
#include <iterator>
#include <set>
#include <utility>

#include "core/error.hpp"
#include "core/registry.hpp"

namespace caffe {
namespace {

constexpr char kMagic[] = "CAFFEPLN";
constexpr uint32_t kVersion = 1;
constexpr int64_t kOwnMemory = -1;

static_assert(std::endian::native == std::endian::little, "plans are read as they lie in the file");

uint32_t crc32(const char* data, size_t size) {
  static const auto table = [] {
    std::array<uint32_t, 256> entries{};
    for (uint32_t i = 0; i < 256; ++i) {
      uint32_t value = i;
      for (int bit = 0; bit < 8; ++bit) value = value & 1 ? (value >> 1) ^ 0xEDB88320u : value >> 1;
      entries[i] = value;
    }
    return entries;
  }();
  uint32_t crc = ~0u;
  for (size_t i = 0; i < size; ++i) crc = (crc >> 8) ^ table[(crc ^ static_cast<uint8_t>(data[i])) & 0xFFu];
  return ~crc;
}

// Walks the bytes of a file; never past their end.
class Reader {
 public:
  Reader(std::string path, std::string bytes) : path_(std::move(path)), bytes_(std::move(bytes)) {
    const size_t head = sizeof(kMagic) - 1 + sizeof(kVersion), tail = sizeof(uint32_t);
    if (bytes_.size() < head + tail || bytes_.compare(0, sizeof(kMagic) - 1, kMagic) != 0)
      throw DataError(path_ + ": not a plan");
    end_ = bytes_.size() - tail;
    uint32_t stored;
    std::memcpy(&stored, bytes_.data() + end_, tail);
    if (stored != crc32(bytes_.data(), end_)) refuse("the checksum differs: the file is damaged");
    at_ = sizeof(kMagic) - 1;
    if (const auto version = number<uint32_t>(); version != kVersion)
      refuse(message("version ", version, ", this program reads version ", kVersion));
  }

  template <class T>
  T number() {
    T value;
    std::memcpy(&value, take(sizeof value), sizeof value);
    return value;
  }
  bool flag() { return number<uint8_t>() != 0; }
  std::string text() {
    const auto size = number<uint32_t>();
    return {take(size), size};
  }
  template <class T>
  std::vector<T> numbers() {
    const size_t size = count(sizeof(T));
    std::vector<T> values(size);
    if (size > 0) std::memcpy(values.data(), take(size * sizeof(T)), size * sizeof(T));
    return values;
  }
  // Length of a list whose items take at least so many bytes.
  size_t count(size_t item_bytes) {
    const size_t size = number<uint32_t>();
    if (size > (end_ - at_) / item_bytes) refuse("a list is longer than the file");
    return size;
  }
  void floats(float* to, int64_t size) {
    const size_t bytes = static_cast<size_t>(size) * sizeof(float);
    const char* from = take(bytes);
    if (bytes > 0) std::memcpy(to, from, bytes);
  }
  template <class T>
  const T& at(const std::vector<T>& items, uint64_t index, const char* what) {
    if (index >= items.size()) refuse(message("there is no ", what, " ", index));
    return items[index];
  }
  void expect_end() {
    if (at_ != end_) refuse("there is more behind the plan");
  }
  [[noreturn]] void refuse(const std::string& problem) const {
    throw DataError(message(path_, ": byte ", at_, ": ", problem));
  }

 private:
  const char* take(size_t size) {
    if (size > end_ - at_) refuse("the file ends too early");
    const char* place = bytes_.data() + at_;
    at_ += size;
    return place;
  }

  std::string path_, bytes_;
  size_t at_ = 0, end_ = 0;
};

std::string read_file(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  if (!stream) throw DataError(path + ": cannot be read");
  return {std::istreambuf_iterator<char>(stream), {}};
}

struct PlacedBlob {
  BlobPtr blob;
  int64_t place;  // in the arena
};

PlacedBlob read_blob(Reader& reader, int64_t arena_bytes) {
  const Shape shape = reader.numbers<int64_t>();
  const auto dtype = reader.flag() ? DType::bfloat16 : DType::float32;
  const auto layout = reader.flag() ? Layout::channels_last : Layout::plain;
  const auto place = reader.number<int64_t>();
  auto blob = std::make_shared<Blob>(dtype, layout);
  blob->reshape(shape);
  const auto bytes = static_cast<int64_t>(blob->bytes());
  if (place < kOwnMemory || (place != kOwnMemory && (bytes > arena_bytes || place > arena_bytes - bytes)))
    reader.refuse("a blob lies outside the arena");
  return {blob, place};
}

BlobPtr read_param(Reader& reader) {
  const Shape shape = reader.numbers<int64_t>();
  auto blob = std::make_shared<Blob>();
  blob->reshape(shape);
  reader.floats(blob->data(), blob->count());
  return blob;
}

Args::Value read_value(Reader& reader) {
  switch (reader.number<uint8_t>()) {
    case 0:
      return reader.flag();
    case 1:
      return reader.number<int64_t>();
    case 2:
      return reader.number<double>();
    case 3:
      return reader.text();
    case 4:
      return reader.numbers<int64_t>();
    case 5:
      return reader.numbers<double>();
    default:
      reader.refuse("an argument has an unknown type");
  }
}

Args read_arguments(Reader& reader) {
  Args args;
  for (size_t left = reader.count(1); left > 0; --left) {
    const std::string name = reader.text();
    args.set(name, read_value(reader));
  }
  return args;
}

Blobs read_blobs(Reader& reader, const std::vector<BlobPtr>& all, const char* what) {
  Blobs blobs;
  for (const int64_t index : reader.numbers<int64_t>())
    blobs.push_back(reader.at(all, static_cast<uint64_t>(index), what));
  return blobs;
}

Step read_step(Reader& reader, const Blobs& blobs, const Blobs& params) {
  Step step;
  step.name = reader.text();
  const std::string type = reader.text();
  const auto stream = reader.number<uint64_t>();
  step.layer = create_layer(type, Device::cpu, read_arguments(reader));
  step.layer->stream = stream;
  step.bottoms = read_blobs(reader, blobs, "blob");
  step.tops = read_blobs(reader, blobs, "blob");
  step.layer->params = read_blobs(reader, params, "learned array");
  step.layer->param_propagate_down.assign(step.layer->params.size(), false);
  for (size_t left = reader.count(1); left > 0; --left) {
    step.layer->state.push_back(std::make_shared<Blob>());
    step.layer->state.back()->reshape(reader.numbers<int64_t>());
  }
  step.loss_weights.assign(step.tops.size(), 0.0f);
  step.propagate_down.assign(step.bottoms.size(), false);
  return step;
}

std::map<std::string, BlobPtr> read_named(Reader& reader, const Blobs& blobs) {
  std::map<std::string, BlobPtr> named;
  for (size_t left = reader.count(1); left > 0; --left) {
    const std::string name = reader.text();
    named[name] = reader.at(blobs, reader.number<uint32_t>(), "blob");
  }
  return named;
}

}  // namespace

PlannedNet::PlannedNet(const std::string& path) {
  Reader reader(path, read_file(path));
  name_ = reader.text();
  const auto arena_bytes = reader.number<int64_t>();
  if (arena_bytes < 0) reader.refuse("the arena has no size");
  std::vector<PlacedBlob> placed;
  Blobs blobs, params;
  for (size_t left = reader.count(1); left > 0; --left) {
    placed.push_back(read_blob(reader, arena_bytes));
    blobs.push_back(placed.back().blob);
  }
  for (size_t left = reader.count(1); left > 0; --left) params.push_back(read_param(reader));
  std::vector<Step> steps;
  for (size_t left = reader.count(1); left > 0; --left) steps.push_back(read_step(reader, blobs, params));
  inputs_ = read_named(reader, blobs);
  outputs_ = read_named(reader, blobs);
  reader.expect_end();

  executor_ = std::make_unique<Executor>(std::move(steps), 0);
  executor_->reshape();
  auto arena = std::make_shared<Storage>();
  arena->reserve(static_cast<size_t>(arena_bytes));
  for (const auto& [blob, place] : placed)
    if (place != kOwnMemory) blob->data_storage().place(arena, static_cast<size_t>(place));
}

}  // namespace caffe
