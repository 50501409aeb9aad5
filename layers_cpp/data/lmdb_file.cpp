// The format: pages of one size. Pages 0 and 1 hold the meta data, the one of the later transaction counts.
// A page begins with a header of 16 bytes (number u64, u16, flags u16, lower u16, upper u16), then offsets of
// its nodes (u16). A node is {u16 lo, hi, flags, key_bytes; key; value}: in a branch, lo, hi and flags make
// up the number of the child page, in a leaf lo and hi the size of the value. A large value stands in
// overflow pages of its own, behind a header of 16 bytes, and the node holds their number. All little-endian.
#include "data/lmdb_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <compare>
#include <cstring>
#include <stdexcept>

namespace caffe {
namespace {

constexpr std::uint32_t kMagic = 0xBEEFC0DE;
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kPageHeader = 16;
constexpr std::size_t kNodeHeader = 8;
constexpr std::uint64_t kNoPage = ~std::uint64_t{0};
constexpr std::uint16_t kBranch = 0x01, kLeaf = 0x02, kOverflow = 0x04;
constexpr std::uint16_t kValueInOverflow = 0x01;
constexpr std::uint64_t kLeastRecordBytes = kNodeHeader + sizeof(std::uint16_t) + 1;
constexpr std::size_t kMaxDepth = 32;
// A call of the kernel costs as much as copying some pages. A run is at most as large as a fast cache, unless
// it is a single value.
constexpr std::uint64_t kRunBytes = 128 << 10, kGapBytes = 4 << 10;
constexpr std::uint64_t kAheadBytes = 64 << 10, kSmallValueBytes = 8 << 10;

[[noreturn]] void fail(const std::string& problem) { throw std::runtime_error(problem); }

template <typename Number>
Number load(std::span<const std::uint8_t> bytes, std::size_t offset) {
  Number number;
  std::memcpy(&number, bytes.subspan(offset, sizeof number).data(), sizeof number);
  return number;
}

std::string named(std::uint64_t page) { return "page " + std::to_string(page); }

}  // namespace

// Without waiting: a pipe in the file's place would never open.
LmdbFile::LmdbFile(const std::string& path)
    : descriptor_(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)) {
  struct stat status{};
  if (descriptor_ < 0 || fstat(descriptor_, &status) != 0) {
    const std::string problem = std::strerror(errno);
    if (descriptor_ >= 0) close(descriptor_);
    fail(problem);
  }
  if (!S_ISREG(status.st_mode)) {
    close(descriptor_);
    fail("it is not a regular file");
  }
  file_bytes_ = static_cast<std::uint64_t>(status.st_size);
  try {
    const Meta first = read_meta(0);
    const Meta second = read_meta(first.page_bytes);
    meta_ = second.transaction > first.transaction ? second : first;
    if (first.page_bytes != second.page_bytes) fail("its two meta pages disagree");
    check_meta();
  } catch (...) {
    close(descriptor_);
    throw;
  }
  posix_fadvise(descriptor_, 0, 0, POSIX_FADV_SEQUENTIAL);
}

LmdbFile::~LmdbFile() { close(descriptor_); }

LmdbFile::Meta LmdbFile::read_meta(std::uint64_t offset) const {
  std::array<std::uint8_t, 152> page;
  read(offset, page);
  const auto page_bytes = load<std::uint32_t>(page, 40);
  if (load<std::uint32_t>(page, 16) != kMagic || load<std::uint32_t>(page, 20) != kVersion) {
    fail("it is not an LMDB file, or its first pages are damaged");
  }
  if (page_bytes < 512 || page_bytes > 65536 || (page_bytes & (page_bytes - 1)) != 0) {
    fail("its page size is " + std::to_string(page_bytes));
  }
  return {page_bytes,
          load<std::uint16_t>(page, 92),
          load<std::uint16_t>(page, 94),
          load<std::uint64_t>(page, 120),
          load<std::uint64_t>(page, 128),
          load<std::uint64_t>(page, 136),
          load<std::uint64_t>(page, 144)};
}

void LmdbFile::check_meta() const {
  if (meta_.flags != 0) fail("its table is of a special kind (flags " + std::to_string(meta_.flags) + ")");
  if (meta_.entries > file_bytes_ / kLeastRecordBytes) {
    fail("it says " + std::to_string(meta_.entries) + " records, but has " + std::to_string(file_bytes_) +
         " bytes");
  }
  if (meta_.depth > kMaxDepth || (meta_.entries > 0) != (meta_.root != kNoPage))
    fail("its meta page is damaged");
  // A writer may have counted a few last pages it did not need in the end. So pages missing from the end are
  // no fault by themselves, unless they are many or the last one is cut; reading one that is used fails
  // later.
  constexpr std::uint64_t kUnwrittenPages = 16;
  const std::uint64_t pages = file_bytes_ / meta_.page_bytes;
  const bool cut = pages <= meta_.last_page && file_bytes_ % meta_.page_bytes != 0;
  if (cut || meta_.last_page >= pages + kUnwrittenPages) {
    fail("it is truncated or damaged: it holds " + std::to_string(pages) + " whole pages of " +
         std::to_string(meta_.page_bytes) + " bytes, " + named(meta_.last_page) + " is in use");
  }
}

void LmdbFile::read(std::uint64_t offset, std::span<std::uint8_t> into) const {
  if (into.size() > file_bytes_ || offset > file_bytes_ - into.size()) {
    fail("it ends at byte " + std::to_string(file_bytes_) + ", something at byte " + std::to_string(offset) +
         " is needed");
  }
  while (!into.empty()) {
    const ssize_t got = pread(descriptor_, into.data(), into.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail(std::strerror(errno));
    if (got == 0) fail("it has become shorter while it was read");
    into = into.subspan(static_cast<std::size_t>(got));
    offset += static_cast<std::uint64_t>(got);
  }
}

LmdbFile::Run LmdbFile::run_from(std::span<const Place> places, std::size_t first) {
  std::uint64_t begin = places[first].offset, end = begin + places[first].bytes;
  std::size_t last = first + 1;
  for (; last < places.size(); ++last) {
    const Place& place = places[last];
    const std::uint64_t wider_begin = std::min(begin, place.offset);
    const std::uint64_t wider_end = std::max(end, place.offset + place.bytes);
    const bool close = wider_end - wider_begin <= (end - begin) + place.bytes + kGapBytes;
    if (!close || wider_end - wider_begin > kRunBytes) break;
    begin = wider_begin;
    end = wider_end;
  }
  return {begin, end - begin, last};
}

// With what stands behind in the file, since what is needed next is often there.
void LmdbCursor::read_ahead(std::uint64_t offset, std::span<std::uint8_t> into) {
  const std::uint64_t limit = file_.file_bytes_;
  if (into.size() > limit || offset > limit - into.size())
    return file_.read(offset, into);  // says what is wrong
  if (offset < ahead_offset_ || offset + into.size() > ahead_offset_ + ahead_.size()) {
    ahead_offset_ = kNowhere;
    ahead_.resize(std::min(std::max<std::uint64_t>(kAheadBytes, into.size()), limit - offset));
    file_.read(offset, ahead_);
    ahead_offset_ = offset;
  }
  std::memcpy(into.data(), ahead_.data() + (offset - ahead_offset_), into.size());
}

bool LmdbCursor::first() {
  levels_.clear();
  if (file_.meta_.root == kNoPage) return false;
  push(file_.meta_.root);
  return descend();
}

bool LmdbCursor::next() { return levels_.empty() ? first() : step() && descend(); }

bool LmdbCursor::after(std::span<const std::uint8_t> key) {
  levels_.clear();
  if (file_.meta_.root == kNoPage) return false;
  auto greater = [&](const Level& level, int index) {
    const std::span<const std::uint8_t> other = node(level, index).key;
    return std::lexicographical_compare(key.begin(), key.end(), other.begin(), other.end());
  };
  push(file_.meta_.root);
  while (!levels_.back().leaf) {
    // The child before the first one that begins behind the key. The first node of a branch has no key.
    Level& level = levels_.back();
    while (level.index + 1 < level.count && !greater(level, level.index + 1)) ++level.index;
    push(node(level, level.index).child);
  }
  Level& leaf = levels_.back();
  while (leaf.index < leaf.count && !greater(leaf, leaf.index)) ++leaf.index;
  if (leaf.index < leaf.count) return take(), true;
  leaf.index = leaf.count - 1;
  return next();
}

void LmdbCursor::push(std::uint64_t page_number) {
  if (levels_.size() >= file_.meta_.depth) fail("its tree is deeper than it says");
  if (page_number > file_.meta_.last_page) fail(named(page_number) + " does not exist");
  const std::size_t page_bytes = file_.meta_.page_bytes;
  Level level{std::vector<std::uint8_t>(page_bytes), 0, 0, false};
  read_ahead(page_number * page_bytes, level.page);
  const auto flags = load<std::uint16_t>(level.page, 10);
  const auto lower = load<std::uint16_t>(level.page, 12);
  const bool whole = load<std::uint64_t>(level.page, 0) == page_number &&
                     (flags == kBranch || flags == kLeaf) && lower > kPageHeader && lower <= page_bytes &&
                     lower % 2 == 0;
  if (!whole) fail(named(page_number) + " is damaged");
  level.leaf = flags == kLeaf;
  level.count = static_cast<int>((lower - kPageHeader) / sizeof(std::uint16_t));
  levels_.push_back(std::move(level));
}

bool LmdbCursor::descend() {
  while (!levels_.back().leaf) push(node(levels_.back(), levels_.back().index).child);
  take();
  return true;
}

bool LmdbCursor::step() {
  while (!levels_.empty()) {
    Level& level = levels_.back();
    if (++level.index < level.count) return true;
    levels_.pop_back();
  }
  return false;
}

void LmdbCursor::take() {
  const Level& leaf = levels_.back();
  const Node record = node(leaf, leaf.index);
  key_ = record.key;
  value_bytes_ = record.value_bytes;
  const std::span<const std::uint8_t> page(leaf.page);
  const std::size_t page_bytes = file_.meta_.page_bytes;
  if (!record.in_overflow_pages) {
    value_offset_ = load<std::uint64_t>(page, 0) * page_bytes + record.offset;
    return;
  }
  const auto number = load<std::uint64_t>(page, record.offset);
  if (number > file_.meta_.last_page) fail(named(number) + " does not exist");
  std::array<std::uint8_t, kPageHeader> header;
  if (value_bytes_ <= kSmallValueBytes) {
    read_ahead(number * page_bytes, header);
  } else {
    file_.read(number * page_bytes, header);
  }
  const std::uint64_t held = std::uint64_t{load<std::uint32_t>(header, 12)} * page_bytes;
  const bool whole = load<std::uint64_t>(header, 0) == number &&
                     load<std::uint16_t>(header, 10) == kOverflow && held >= kPageHeader + value_bytes_;
  if (!whole) fail(named(number) + " is damaged");
  value_offset_ = number * page_bytes + kPageHeader;
  if (value_bytes_ > file_.file_bytes_ || value_offset_ > file_.file_bytes_ - value_bytes_)
    fail("a record reaches behind its end");
}

LmdbCursor::Node LmdbCursor::node(const Level& level, int index) const {
  const std::span<const std::uint8_t> page(level.page);
  const auto at =
      load<std::uint16_t>(page, kPageHeader + sizeof(std::uint16_t) * static_cast<std::size_t>(index));
  if (at + kNodeHeader > page.size()) fail("a node reaches outside of its page");
  const auto low = load<std::uint32_t>(page, at);  // two numbers of 16 bits, the lower one first
  const auto flags = load<std::uint16_t>(page, at + 4u);
  const auto key_bytes = load<std::uint16_t>(page, at + 6u);
  Node node{};
  node.offset = at + kNodeHeader + key_bytes;
  node.child = low | std::uint64_t{flags} << 32;
  node.value_bytes = low;
  node.in_overflow_pages = level.leaf && flags == kValueInOverflow;
  const std::size_t held = !level.leaf              ? 0
                           : node.in_overflow_pages ? sizeof(std::uint64_t)
                                                    : node.value_bytes;
  const bool known = !level.leaf || flags == 0 || flags == kValueInOverflow;
  if (!known || node.offset > page.size() || held > page.size() - node.offset) fail("a node is damaged");
  node.key = page.subspan(at + kNodeHeader, key_bytes);
  return node;
}

}  // namespace caffe
