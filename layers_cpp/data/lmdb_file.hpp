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
  // Of a value.
  struct Place {
    std::uint64_t offset;
    std::uint64_t bytes;
  };

  explicit LmdbFile(const std::string& path);  // of data.mdb
  ~LmdbFile();
  LmdbFile(const LmdbFile&) = delete;
  LmdbFile& operator=(const LmdbFile&) = delete;

  std::uint64_t entries() const { return meta_.entries; }

  // Bytes of the file, such as a value a cursor has found. Several threads may read.
  void read(std::uint64_t offset, std::span<std::uint8_t> into) const;

  // Gives the values at these places to `use(index, bytes)`, one after the other, until it returns false;
  // returns what it returned last. Values that stand close together in the file are read together, into
  // memory that is used again for the following ones.
  template <typename Use>
  bool read_each(std::span<const Place> places, std::vector<std::uint8_t>& memory, Use&& use) const {
    for (std::size_t first = 0; first < places.size();) {
      const Run run = run_from(places, first);
      if (memory.size() < run.bytes) memory.resize(run.bytes);
      read(run.offset, std::span(memory).first(run.bytes));
      for (; first < run.last; ++first) {
        const std::span<const std::uint8_t> bytes(memory.data(), run.bytes);
        if (!use(first, bytes.subspan(places[first].offset - run.offset, places[first].bytes))) return false;
      }
    }
    return true;
  }

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

  // A part of the file, with the values at places up to `last`, that one not included.
  struct Run {
    std::uint64_t offset;
    std::uint64_t bytes;
    std::size_t last;
  };

  static Run run_from(std::span<const Place> places, std::size_t first);
  Meta read_meta(std::uint64_t offset) const;
  void check_meta() const;

  int descriptor_;
  std::uint64_t file_bytes_;
  Meta meta_{};
};

// A place in the file. Several cursors of one file may be used by several threads.
class LmdbCursor {
 public:
  explicit LmdbCursor(const LmdbFile& file) : file_(file) {}

  const LmdbFile& file() const { return file_; }

  // Move, a new cursor to the first record; false past the last one.
  bool next();
  bool first();

  // To the first record whose key is greater than `key`; false if there is none.
  bool after(std::span<const std::uint8_t> key);

  // Of the current record. The key is valid until the cursor moves.
  std::span<const std::uint8_t> key() const { return key_; }
  std::uint64_t value_offset() const { return value_offset_; }  // in the file
  std::uint64_t value_bytes() const { return value_bytes_; }

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

  void read_ahead(std::uint64_t offset, std::span<std::uint8_t> into);
  void push(std::uint64_t page_number);
  bool descend();  // from the current node of the last level to the first record below it
  bool step();     // to the next node, leaving levels that are at their end
  void take();     // the current node of the last level as current record
  Node node(const Level& level, int index) const;

  const LmdbFile& file_;
  std::vector<Level> levels_;  // from the root to a leaf
  static constexpr std::uint64_t kNowhere = ~std::uint64_t{0};
  std::vector<std::uint8_t> ahead_;        // what was read last,
  std::uint64_t ahead_offset_ = kNowhere;  // and where that stands in the file
  std::span<const std::uint8_t> key_;
  std::uint64_t value_bytes_ = 0;
  std::uint64_t value_offset_ = 0;
};

}  // namespace caffe
