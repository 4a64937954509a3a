// The contraction step of steps/contract.h on one CPU core: blocks of k, packed only where strides do not serve the tile.
// A block of the right operand stays in the second cache while the rows pass by, tile after tile.
#pragma once
#include <algorithm>

#include "fast/blocks.h"
#include "fast/panels.h"
#include "fast/tile.h"
#include "steps/walk.h"
#include "team/team.h"

namespace irk {

template <class T>
class ContractStep {
  using Shape = TileShape<T>;
  static constexpr int kLanes = Pack<T>::kLanes;
  static constexpr int64_t kRight = (int64_t(260) << 10) / int64_t(sizeof(T));  // a block of the right operand, in panels
  static constexpr int64_t kPad = kLanes;          // between panels, which would else meet in the same sets of a cache
  static constexpr int64_t kLine = Fetch<T>::kLine;
  static constexpr int64_t kLineBytes = 64, kCrowdedRows = 24;  // rows that pay for packing
  static constexpr int64_t kFewPanels = 4;         // that the first cache holds
  static constexpr int64_t kFarBytes = 2048;       // strides from which a walk along k wants a page each
  static constexpr int64_t kNearBytes = 1 << 18;   // results that a cache holds anyway are not fetched ahead

 public:
  ContractStep(const Step& step, const Loop* pool, const T* a, const T* b, T* c)
      : step_(step), pool_(pool), a_(a), b_(b), c_(c), batch_(step.lane.a != 0), single_k_(step.k.count <= 1) {
    for (int i = 0; i < step.k.count; ++i) k_ *= pool[step.k.first + i].extent;
    if (step.k.count) {
      const Loop& last = pool[step.k.first + step.k.count - 1];
      if (last.a == 1) a_run_ = last.extent;
      if (last.b == 1) b_run_ = last.extent;
    }
    if (step.k.count == 1) { a_k_ = pool[step.k.first].a; b_k_ = pool[step.k.first].b; }
    const bool large_b = k_ * step.lane.extent > kRight;
    pack_b_ = step.lane.b != 1 || !single_k_ || (!batch_ && crowded(b_k_, std::min(k_, kBlock)) && step.row.extent > kCrowdedRows);
    fetch_b_ = large_b && single_k_ && (step.lane.b == 1 || b_k_ == 1);
    pack_a_ = batch_ ? step.lane.a != 1 || !single_k_
                     : !single_k_ || (step.lane.extent > 2 * Shape::kColumns && (far(a_k_) || far(step.row.a)));
    summed_ = k_ != 1 || step.lane.a >> 1 || step.lane.b >> 1 || step.lane.c != 1;
    rows_per_tile_ = !batch_ ? Shape::kRows : pack_a_ ? 1 : Shape::kBatchRows;
    ahead_ = step.row.extent * step.lane.extent * int64_t(sizeof(T)) > kNearBytes;
  }

  void run(const Team& team) const {
    Walk outer(pool_, step_.outer);
    const int64_t repeats = outer.size();
    const int64_t panels = panels_of(step_.lane.extent);
    const Blocks shares = Blocks::of(pieces(step_.row.extent, rows_per_tile_), panels, kRight / panel_of(std::min(k_, kBlock)), repeats, team.size);
    const int64_t blocks = shares.rows * shares.columns, total = repeats * blocks;
    int64_t task = team.begin(total);
    const int64_t last = team.end(total);
    if (blocks == 1) {  // divisions would cost as much as a small product
      if (task) outer.seek(task);
      for (; task < last && !team.stopped(); ++task, outer.next()) compute(outer, 0, step_.lane.extent, 0, step_.row.extent, team);
      return;
    }
    if (task) outer.seek(task / blocks);
    for (int64_t block = task % blocks; task < last && !team.stopped(); ++task) {
      const int64_t row = block / shares.columns, column = block % shares.columns;
      const int64_t begin = panels * column / shares.columns * Shape::kColumns;
      const int64_t end = std::min(step_.lane.extent, panels * (column + 1) / shares.columns * Shape::kColumns);
      compute(outer, begin, end, step_.row.extent * row / shares.rows, step_.row.extent * (row + 1) / shares.rows, team);
      if (++block == blocks) { block = 0; outer.next(); }
    }
  }

 private:
  // Whether numbers so far apart meet in so few of the 64 sets of a first cache that it holds, with 8 lines in each, less
  // than half of them.
  static bool crowded(int64_t stride, int64_t numbers) {
    const int64_t bytes = stride * int64_t(sizeof(T)), apart = std::min<int64_t>(bytes & -bytes, 64 * kLineBytes);
    return apart * numbers > 2 * 8 * 64 * kLineBytes;
  }
  static bool far(int64_t stride) { return stride * int64_t(sizeof(T)) >= kFarBytes; }
  static int64_t panel_of(int64_t depth) { return depth * Shape::kColumns + kPad; }
  static int64_t panels_of(int64_t lanes) { return pieces(lanes, Shape::kColumns); }

  void compute(const Walk& outer, int64_t column, int64_t column_end, int64_t row, int64_t row_end, const Team& team) const {
    const int64_t columns = column_end - column, rows = row_end - row;
    const T* a = a_ + outer.a + row * step_.row.a + column * step_.lane.a;
    const T* b = b_ + outer.b + column * step_.lane.b;
    T* c = c_ + outer.c + row * step_.row.c + column * step_.lane.c;
    if (!summed_) return products(a, b, c, rows, columns);
    if (rows == 1 && !batch_ && single_k_ && b_k_ == 1 && step_.lane.b != 1) return row_of_sums(a, b, c, columns, team);
    if (pack_a_ || pack_b_) {  // of few rows: what is packed is read at once, and not again
      const int64_t together = rows > Shape::kRows ? columns : kFewPanels * Shape::kColumns;
      for (int64_t j = 0; j < columns; j += together)
        packed(a + j * step_.lane.a, b + j * step_.lane.b, c + j * step_.lane.c, rows, std::min(together, columns - j), team);
      return;
    }
    const RowTiles tiles(rows, rows_per_tile_);
    TileArguments<T> t{0, a, step_.row.a, a_k_, b, b_k_, c, step_.row.c, step_.lane.c, 0, false, ahead_, {}};
    const auto tile_row = [&](int64_t k, int64_t begin, int64_t end) {
      t.k = std::min(kBlock, k_ - k);
      t.accumulate = k > 0;
      panels(t, a + k * a_k_ + begin * step_.row.a, b + k * b_k_, c + begin * step_.row.c, int(end - begin), columns,
             Shape::kColumns * step_.lane.a, Shape::kColumns * step_.lane.b);
    };
    if (k_ * columns <= kRight) {  // all of b stays near: each row of tiles is finished before the next
      for (int64_t i = 0, r = 0, end; i < tiles.count; ++i, r = end) {
        end = tiles.end(i, r);
        for (int64_t k = 0; k < k_; k += kBlock) tile_row(k, r, end);
      }
      return;
    }
    for (int64_t k = 0; k < k_ && !team.stopped(); k += kBlock) {
      if (fetch_b_) fetch_next(t, b, std::min(k_, k + kBlock), columns, tiles.count == 1 ? 2 : 1);
      for (int64_t i = 0, r = 0, end; i < tiles.count; ++i, r = end) tile_row(k, r, end = tiles.end(i, r));
    }
  }

  // Nothing is summed: rows of a times the one of b, number by number; either may have one number for a whole row.
  void products(const T* a, const T* b, T* c, int64_t rows, int64_t columns) const {
    const auto with = [&](auto a_lanes, auto b_lanes) {
      for (int64_t r = 0; r < rows; ++r, a += step_.row.a, c += step_.row.c) row_of_products(a_lanes, b_lanes, a, b, c, columns);
    };
    using One = std::false_type;
    using Many = std::true_type;
    if (step_.lane.a && step_.lane.b) with(Many(), Many());
    else if (step_.lane.a) with(Many(), One());
    else if (step_.lane.b) with(One(), Many());
    else with(One(), One());
  }

  template <class ManyA, class ManyB>
  static void row_of_products(ManyA, ManyB, const T* a, const T* b, T* c, int64_t columns) {
    using Lanes = Pack<T>;
    const Lanes one_a = Lanes::broadcast(*a), one_b = Lanes::broadcast(*b);
    int64_t j = 0;
    for (; j + kLanes <= columns; j += kLanes)
      ((ManyA::value ? Lanes::load(a + j) : one_a) * (ManyB::value ? Lanes::load(b + j) : one_b)).store(c + j);
    if (const int tail = int(columns - j))
      ((ManyA::value ? Lanes::load(a + j, tail) : one_a) * (ManyB::value ? Lanes::load(b + j, tail) : one_b)).store(c + j, tail);
  }

  // One row, of a b whose unit stride runs along k: squares of it are turned in registers on their way.
  void row_of_sums(const T* a, const T* b, T* c, int64_t columns, const Team& team) const {
    constexpr int kSquares = IRK_VECTOR_REGISTERS / kLanes > 2 ? 2 : 1;
    int64_t j = 0;
    for (; j + kSquares * kLanes <= columns && !team.stopped(); j += kSquares * kLanes) sums<kSquares>(a, b, c, j, kLanes);
    for (; j < columns && !team.stopped(); j += kLanes) sums<1>(a, b, c, j, int(std::min<int64_t>(kLanes, columns - j)));
  }

  template <int kSquares>
  void sums(const T* a, const T* b, T* c, int64_t column, int lanes) const {
    using Lanes = Pack<T>;
    Lanes total[kSquares] = {}, part[kSquares], square[kSquares][kLanes];
    b += column * step_.lane.b;
    c += column * step_.lane.c;
    for (int64_t block = 0; block < k_; block += kBlock) {
      const int64_t last = std::min(k_, block + kBlock);
      for (int s = 0; s < kSquares; ++s) part[s] = Lanes::nothing();
      for (int64_t k = block; k < last; k += kLanes) {
        const int depth = int(std::min<int64_t>(kLanes, last - k));
        for (int s = 0; s < kSquares; ++s) load_square(b + s * kLanes * step_.lane.b + k, step_.lane.b, lanes, depth, square[s]);
        if (depth == kLanes) {
#pragma GCC unroll 16
          for (int i = 0; i < kLanes; ++i)
            for (int s = 0; s < kSquares; ++s) part[s] = fma(Lanes::broadcast(a[(k + i) * a_k_]), square[s][i], part[s]);
        } else {
          for (int i = 0; i < depth; ++i)
            for (int s = 0; s < kSquares; ++s) part[s] = fma(Lanes::broadcast(a[(k + i) * a_k_]), square[s][i], part[s]);
        }
      }
      for (int s = 0; s < kSquares; ++s) total[s] = block ? total[s] + part[s] : part[s];
    }
    for (int s = 0; s < kSquares; ++s) {
      T row[kLanes];
      total[s].store(row);
      for (int i = 0; i < lanes; ++i) c[(s * kLanes + i) * step_.lane.c] = row[i];
    }
  }

  // One row of tiles; a and b advance from panel to panel. The arguments are changed in place: copying them would wait
  // for their own stores.
  void panels(TileArguments<T>& t, const T* a, const T* b, T* c, int rows, int64_t columns, int64_t a_panel, int64_t b_panel) const {
    for (int64_t j = 0; j < columns; j += Shape::kColumns, a += a_panel, b += b_panel) {
      const int64_t width = std::min<int64_t>(Shape::kColumns, columns - j);
      const int packs = int(pieces(width, kLanes));
      t.a = a;
      t.b = b;
      t.c = c + j * t.c_lane;
      t.tail = int(width - (packs - 1) * kLanes);
      find_tile<T>(rows, packs, batch_, t.tail != kLanes)(t);
      t.fetch.next();
    }
  }

  // The next block of b: of k, or the first one of the next columns. What a tile fetches lies one line further each time.
  void fetch_next(TileArguments<T>& t, const T* b, int64_t k, int64_t columns, int lines) const {
    const bool along_k = step_.lane.b != 1;
    const int64_t numbers = along_k ? std::min(kBlock, k < k_ ? k_ - k : k_) : columns;
    const T* from = k < k_ ? b + k * b_k_ : b + columns * step_.lane.b;
    t.fetch = {from, along_k ? step_.lane.b : b_k_, lines, int(pieces(numbers, kLine * lines))};
  }

  __attribute__((noinline)) void packed(const T* a, const T* b, T* c, int64_t rows, int64_t columns, const Team& team) const {
    alignas(64) static thread_local T right[kRight];  // too large for a frame; made when a thread first packs
    alignas(64) T left[kBlock * std::max(Shape::kRows, kLanes)];
    int64_t a_at[kBlock], b_at[kBlock];
    Walk walk(pool_, step_.k);
    const RowTiles tiles(rows, rows_per_tile_);
    const int64_t blocks = pieces(k_, kBlock), panel = panel_of(std::min(k_, kBlock)), block_size = panels_of(columns) * panel;
    const bool whole = pack_b_ && !pack_a_ && blocks * block_size <= kRight;  // all of b stays near
    TileArguments<T> t{0, a, step_.row.a, a_k_, b, b_k_, c, step_.row.c, step_.lane.c, 0, false, ahead_, {}};
    if (pack_b_) t.b_k = Shape::kColumns;
    const int64_t b_panel = pack_b_ ? panel : Shape::kColumns * step_.lane.b;

    const auto tile_row = [&](int64_t k, int64_t begin, int64_t end, const T* block) {
      const int height = int(end - begin);
      t.k = std::min(kBlock, k_ - k);
      t.accumulate = k > 0;
      T* into = c + begin * step_.row.c;
      const Source<T> from{a + begin * step_.row.a, a_at, t.k, batch_ ? step_.lane.a : step_.row.a, a_run_, k % a_run_};
      if (pack_a_ && batch_) return lanes_of_a_row(t, from, block, b_panel, into, columns, left);
      if (!pack_a_) return panels(t, from.data + k * a_k_, block, into, height, columns, Shape::kColumns * step_.lane.a, b_panel);
      pack_strip(from, height, left, height);
      t.a_row = 1;
      t.a_k = height;
      panels(t, left, block, into, height, columns, 0, b_panel);
    };
    for (int64_t k = 0; k < k_ && !team.stopped(); k += kBlock) {
      const int64_t depth = std::min(kBlock, k_ - k);
      for (int64_t i = 0; i < depth; ++i, walk.next()) { a_at[i] = walk.a; b_at[i] = walk.b; }
      T* block = right + (whole ? k / kBlock * block_size : 0);
      if (pack_b_) pack_panels(Source<T>{b, b_at, depth, step_.lane.b, b_run_, k % b_run_}, columns, Shape::kColumns, block, panel);
      if (whole) continue;
      if (fetch_b_) fetch_next(t, b, k + depth, columns, tiles.count == 1 ? 2 : 1);
      for (int64_t i = 0, r = 0, end; i < tiles.count; ++i, r = end)
        tile_row(k, r, end = tiles.end(i, r), pack_b_ ? block : b + b_at[0]);
    }
    for (int64_t i = 0, r = 0, end; whole && i < tiles.count; ++i, r = end) {
      end = tiles.end(i, r);
      for (int64_t k = 0; k < k_; k += kBlock) tile_row(k, r, end, right + k / kBlock * block_size);
    }
  }

  // Batch in lanes, with an a that must be packed: each of its numbers is read once, so a row at a time will do.
  void lanes_of_a_row(TileArguments<T>& t, Source<T> a, const T* b, int64_t b_panel, T* c, int64_t columns, T* left) const {
    t.a_row = 0;
    t.a_k = kLanes;
    for (int64_t j = 0; j < columns; j += kLanes, a.data += kLanes * step_.lane.a) {
      const int64_t width = std::min<int64_t>(kLanes, columns - j);
      pack_strip(a, width, left, kLanes);
      panels(t, left, b + j / Shape::kColumns * b_panel + j % Shape::kColumns, c + j * step_.lane.c, 1, width, 0, 0);
    }
  }

  const Step& step_;
  const Loop* pool_;
  const T *a_, *b_;
  T* c_;
  bool batch_, single_k_, pack_a_, pack_b_, ahead_, fetch_b_;
  bool summed_;  // or a lane's stride is neither 0 nor 1 (s >> 1 is 0 for these alone), so that products() does not serve
  int64_t k_ = 1, a_k_ = 0, b_k_ = 0, a_run_ = 1, b_run_ = 1;  // runs: how many steps along k are steps in memory
  int rows_per_tile_;
};

}  // namespace irk
