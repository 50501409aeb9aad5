// Reads an LMDB file in the order of its keys, trusting nothing in it.
//
// LMDB's own library reads through a memory map and believes the page numbers and sizes that stand in the
// file, so a truncated or damaged file ends the process with SIGBUS. This reader copies what it needs with
// pread and checks every offset: damage throws std::runtime_error. It takes no lock, so nobody may write to
// the database meanwhile, and it does not mind who else has the file open.
//
// Only what image databases are made of is supported: one table, plain keys, one value a key.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace caffe {

class LmdbFile {
 public:
  explicit LmdbFile(const std::string& path);  // of data.mdb
  ~LmdbFile();
  LmdbFile(const LmdbFile&) = delete;
  LmdbFile& operator=(const LmdbFile&) = delete;

  std::uint64_t entries() const { return meta_.entries; }

 private:
  friend class LmdbCursor;

  struct Meta {
    std::uint32_t page_bytes;
    std::uint16_t flags;
    std::uint16_t depth;
    std::uint64_t entries;
    std::uint64_t root;
    std::uint64_t last_page;
    std::uint64_t transaction;
  };

  Meta read_meta(std::uint64_t offset) const;
  void check_meta() const;
  void read(std::uint64_t offset, std::span<std::uint8_t> into) const;

  int descriptor_;
  std::uint64_t file_bytes_;
  Meta meta_{};
};

// A place in the file. Several cursors of one file may be used by several threads.
class LmdbCursor {
 public:
  explicit LmdbCursor(const LmdbFile& file) : file_(file) {}

  // Move, a new cursor to the first record; false past the last one.
  bool next();
  bool first();

  // To the first record whose key is greater than `key`; false if there is none.
  bool after(std::span<const std::uint8_t> key);

  // Of the current record. The key is valid until the cursor moves.
  std::span<const std::uint8_t> key() const { return key_; }
  std::uint64_t value_bytes() const { return value_bytes_; }
  void read_value(std::span<std::uint8_t> into) const;

 private:
  struct Node {
    std::span<const std::uint8_t> key;
    std::uint64_t child;        // of a branch: page number
    std::uint32_t value_bytes;  // of a leaf
    bool in_overflow_pages;
    std::size_t offset;  // of what follows the key, within the page
  };

  struct Level {
    std::vector<std::uint8_t> page;
    int count;  // of nodes
    int index;  // of the current one
    bool leaf;
  };

  void push(std::uint64_t page_number);
  bool descend();  // from the current node of the last level to the first record below it
  bool step();     // to the next node, leaving levels that are at their end
  void take();     // the current node of the last level as current record
  Node node(const Level& level, int index) const;

  const LmdbFile& file_;
  std::vector<Level> levels_;  // from the root to a leaf
  std::span<const std::uint8_t> key_;
  std::uint64_t value_bytes_ = 0;
  std::uint64_t value_offset_ = 0;  // in the file, of a value in overflow pages
  std::span<const std::uint8_t> inline_value_;
};

}  // namespace caffe
