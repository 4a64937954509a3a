// The contraction step of steps/contract.h on one CPU core: blocks of k, packed only where strides do not serve the tile.
#pragma once
#include <algorithm>

#include "fast/tile.h"
#include "steps/walk.h"
#include "team/team.h"

namespace irk {

template <class T>
class ContractStep {
  using Shape = TileShape<T>;
  static constexpr int kLanes = Pack<T>::kLanes;
  static constexpr int64_t kColumnBlock = 4 * Shape::kColumns;
  static constexpr int64_t kRowBlock = 8 * Shape::kRows;
  static constexpr int64_t kFarBytes = 2048;  // strides from which a walk along k wants a page each

 public:
  ContractStep(const Step& step, const Loop* pool, const T* a, const T* b, T* c)
      : step_(step), pool_(pool), a_(a), b_(b), c_(c), batch_(step.lane.a != 0), single_k_(step.k.count <= 1) {
    for (int i = 0; i < step.k.count; ++i) k_ *= pool[step.k.first + i].extent;
    if (step.k.count == 1) { a_k_ = pool[step.k.first].a; b_k_ = pool[step.k.first].b; }
    pack_b_ = step.lane.b != 1 || !single_k_ || (step.row.extent > 2 * Shape::kRows && far(b_k_));
    pack_a_ = (batch_ && step.lane.a != 1) || !single_k_ || (step.lane.extent > Shape::kColumns && far(a_k_));
    rows_per_tile_ = !batch_ ? Shape::kRows : pack_a_ ? 1 : Shape::kBatchRows;
    panel_ = batch_ && pack_a_ ? kLanes : Shape::kColumns;
  }

  void run(const Team& team) const {
    const int64_t column_blocks = (step_.lane.extent + kColumnBlock - 1) / kColumnBlock;
    Walk outer(pool_, step_.outer);
    const int64_t repeats = outer.size(), row_blocks = row_blocks_for(team, repeats * column_blocks);
    const int64_t blocks = column_blocks * row_blocks, total = repeats * blocks;
    int64_t task = team.begin(total);
    const int64_t last = team.end(total);
    if (blocks == 1) {  // divisions would cost as much as a small product
      if (task) outer.seek(task);
      for (; task < last; ++task, outer.next()) compute(outer, 0, 0, step_.row.extent);
      return;
    }
    if (task) outer.seek(task / blocks);
    for (int64_t block = task % blocks; task < last; ++task) {
      const int64_t row = block % row_blocks;
      compute(outer, block / row_blocks * kColumnBlock, step_.row.extent * row / row_blocks, step_.row.extent * (row + 1) / row_blocks);
      if (++block == blocks) { block = 0; outer.next(); }
    }
  }

 private:
  static bool far(int64_t stride) { return stride * int64_t(sizeof(T)) >= kFarBytes; }

  // Blocks of equal rows, none above kRowBlock, and enough of them that every member of a team has as much to do.
  int64_t row_blocks_for(const Team& team, int64_t others) const {
    const int64_t least = (step_.row.extent + kRowBlock - 1) / kRowBlock;
    if (team.size == 1 || least * others % team.size == 0) return least;
    return std::min(step_.row.extent, (least + team.size - 1) / team.size * team.size);
  }

  void compute(const Walk& outer, int64_t column, int64_t row, int64_t end) const {
    const int64_t columns = std::min(kColumnBlock, step_.lane.extent - column), rows = end - row;
    const T* a = a_ + outer.a + row * step_.row.a + column * step_.lane.a;
    const T* b = b_ + outer.b + column * step_.lane.b;
    T* c = c_ + outer.c + row * step_.row.c + column * step_.lane.c;
    if (pack_a_ || pack_b_) return packed(a, b, c, rows, columns);
    const RowTiles tiles(rows, rows_per_tile_);
    TileArguments<T> t{0, a, step_.row.a, a_k_, b, b_k_, c, step_.row.c, step_.lane.c, 0, false};
    for (int64_t k = 0; k < k_; k += kBlock) {
      t.k = std::min(kBlock, k_ - k);
      t.accumulate = k > 0;
      for (int64_t i = 0, r = 0, end; i < tiles.count; ++i, r = end) {
        end = tiles.end(i, r);
        panels(t, a + k * a_k_ + r * step_.row.a, b + k * b_k_, c + r * step_.row.c, int(end - r), columns, step_.lane.a, step_.lane.b);
      }
    }
  }

  // Rows shared evenly among tiles: a thin last tile would wait for its own sums.
  struct RowTiles {
    int64_t count = 1, base, longer = 0;  // the first `longer` tiles have base + 1 rows
    RowTiles(int64_t rows, int64_t most) : base(rows) {
      if (rows <= most) return;
      count = (rows + most - 1) / most;
      base = rows / count;
      longer = rows % count;
    }
    int64_t end(int64_t i, int64_t begin) const { return begin + base + (i < longer); }
  };

  // One row of tiles. The arguments are changed in place: copying them would wait for their own stores.
  void panels(TileArguments<T>& t, const T* a, const T* b, T* c, int rows, int64_t columns, int64_t a_lane, int64_t b_lane) const {
    for (int64_t j = 0; j < columns; j += Shape::kColumns) {
      const int64_t width = std::min<int64_t>(Shape::kColumns, columns - j);
      const int packs = int((width + kLanes - 1) / kLanes);
      t.a = a + j * a_lane;
      t.b = b + j * b_lane;
      t.c = c + j * t.c_lane;
      t.tail = int(width - (packs - 1) * kLanes);
      find_tile<T>(rows, packs, batch_, t.tail != kLanes)(t);
    }
  }

  void packed(const T* a, const T* b, T* c, int64_t rows, int64_t columns) const {
    alignas(64) T right[kBlock * Shape::kColumns];
    alignas(64) T left[kBlock * std::max(Shape::kRows, kLanes)];
    int64_t a_at[kBlock], b_at[kBlock];
    Walk walk(pool_, step_.k);
    const RowTiles tiles(rows, rows_per_tile_);
    TileArguments<T> t{0, a, step_.row.a, a_k_, b, b_k_, c, step_.row.c, step_.lane.c, 0, false};
    if (pack_b_) t.b_k = Shape::kColumns;
    for (int64_t k = 0; k < k_; k += kBlock) {
      t.k = std::min(kBlock, k_ - k);
      t.accumulate = k > 0;
      for (int64_t i = 0; i < t.k; ++i, walk.next()) { a_at[i] = walk.a; b_at[i] = walk.b; }
      for (int64_t j = 0; j < columns; j += panel_) {
        const int64_t width = std::min(panel_, columns - j);
        const T* from_b = b + j * step_.lane.b;
        if (pack_b_) pack_right(from_b, b_at, t.k, width, right);
        for (int64_t i = 0, r = 0, end; i < tiles.count; ++i, r = end) {
          end = tiles.end(i, r);
          const int height = int(end - r);
          const T* from_a = a + r * step_.row.a + j * step_.lane.a;
          if (pack_a_) {
            const int64_t lanes = batch_ ? panel_ : 1;
            pack_left(from_a, a_at, t.k, height, batch_ ? width : 1, lanes, left);
            t.a_row = lanes;
            t.a_k = height * lanes;
          }
          panels(t, pack_a_ ? left : from_a + a_at[0], pack_b_ ? right : from_b + b_at[0],
                 c + r * step_.row.c + j * step_.lane.c, height, width, 0, 0);
        }
      }
    }
  }

  // right[k, lane]; a transposed operand goes through registers, square by square.
  void pack_right(const T* b, const int64_t* at, int64_t depth, int64_t width, T* right) const {
    constexpr int64_t C = Shape::kColumns;
    const int64_t stride = step_.lane.b;
    if (stride == 1 || !single_k_ || b_k_ != 1) {
      for (int64_t k = 0; k < depth; ++k)
        for (int64_t x = 0; x < width; ++x) right[k * C + x] = b[x * stride + at[k]];
      return;
    }
    for (int64_t k = 0; k < depth; k += kLanes) {
      const int deep = int(std::min<int64_t>(kLanes, depth - k));
      for (int64_t j = 0; j < width; j += kLanes) {
        const int64_t wide = std::min<int64_t>(kLanes, width - j);
        Pack<T> square[kLanes];
        for (int i = 0; i < kLanes; ++i)
          square[i] = i >= wide ? Pack<T>::zero()
                      : deep == kLanes ? Pack<T>::load(b + (j + i) * stride + at[k])
                                       : Pack<T>::load(b + (j + i) * stride + at[k], deep);
        transpose(square);
        for (int i = 0; i < deep; ++i) square[i].store(right + (k + i) * C + j);
      }
    }
  }

  // left[k, row(, lane)]
  void pack_left(const T* a, const int64_t* at, int64_t depth, int rows, int64_t width, int64_t lanes, T* left) const {
    for (int64_t k = 0; k < depth; ++k)
      for (int r = 0; r < rows; ++r)
        for (int64_t x = 0; x < width; ++x)
          left[(k * rows + r) * lanes + x] = a[at[k] + r * step_.row.a + x * step_.lane.a];
  }

  const Step& step_;
  const Loop* pool_;
  const T *a_, *b_;
  T* c_;
  bool batch_, single_k_, pack_a_, pack_b_;
  int64_t k_ = 1, a_k_ = 0, b_k_ = 0, panel_;
  int rows_per_tile_;
};

}  // namespace irk
