// How one contraction is cut: rows into tiles of nearly equal height, columns into blocks that a cache holds, both among a team.
#pragma once
#include <algorithm>
#include <cstdint>

namespace irk {

inline int64_t pieces(int64_t n, int64_t most) { return (n + most - 1) / most; }

// Rows shared evenly among tiles: a thin last tile would wait for its own sums.
struct RowTiles {
  int64_t count = 1, base, longer = 0;  // the first `longer` tiles have base + 1 rows
  RowTiles(int64_t rows, int64_t most) : base(rows) {
    if (rows <= most) return;
    count = pieces(rows, most);
    base = rows / count;
    longer = rows % count;
  }
  int64_t end(int64_t i, int64_t begin) const { return begin + base + (i < longer); }
};

// Row blocks times column blocks of each of `repeats` equal contractions.
struct Blocks {
  int64_t rows, columns;

  // At most `most` panels a block; then, along the longer side, enough that every member of a team has as much to do.
  static Blocks of(int64_t tiles, int64_t panels, int64_t most, int64_t repeats, int64_t members) {
    Blocks blocks{1, pieces(panels, most)};
    if (members == 1 || repeats * blocks.columns % members == 0) return blocks;
    if (tiles >= panels) blocks.rows = std::min(tiles, members);
    else blocks.columns = std::min(panels, pieces(blocks.columns, members) * members);
    return blocks;
  }
};

}  // namespace irk
