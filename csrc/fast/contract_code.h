// A small contraction as machine code: every stride is written into it, all sums of a tile stay in registers. The bits
// are those of steps/contract.h: each sum takes its products in index order, the first one rounded alone.
#pragma once
#include <algorithm>

#include "fast/blocks.h"
#include "fast/code_arrays.h"
#include "steps/walk.h"
#include "team/team.h"

namespace irk {

class ContractCode {
  static constexpr int64_t kMostWritten = 6000;  // instructions that compute, about
  // Multiply-adds; more are done as soon by fast/contract.h, which has all that registers hold.
  static constexpr int64_t kMostWork = IRK_VECTOR_BYTES == 64 ? 1 << 13 : 1 << 15;
  static constexpr int kUnrolled = 96;           // multiply-adds of vectors of a tile, without a loop
  static constexpr int kMask = 15, kOther = 14;  // registers; sums come first, then packs in lanes

  // One way to take the two loops: numbers of x lie in lanes, one of y is the same in all lanes (or, of a batch, one of
  // many in lanes as well).
  struct Roles {
    Ref x, y;
    int64_t Loop::*x_stride, Loop::*y_stride;
    int64_t lanes, rows;
    int64_t x_lane, y_lane, y_row, c_lane, c_row;
  };

 public:
  ContractCode(Assembler& out, const Step& step, const Loop* pool, int32_t room)
      : out_(out), step_(step), pool_(pool), room_(room), width_(out.most_lanes()) {
    const Loop &lane = step.lane, &row = step.row;
    const Roles columns{step.b,  step.a, &Loop::b, &Loop::a, lane.extent, row.extent,
                        lane.b, lane.a, row.a,    lane.c,   row.c};
    const Roles rows{step.a, step.b, &Loop::a, &Loop::b, row.extent, lane.extent, row.a, 0, lane.b, row.c, lane.c};
    depth_ = extent_of(pool, step.k);
    r_ = lane.a == 0 && cycles(rows) < cycles(columns) ? rows : columns;
  }

  // Whether it is worth writing.
  bool fits() const {
    const int64_t repeats = extent_of(pool_, step_.outer), packs = pieces(r_.lanes, width_);
    if (repeats * depth_ * r_.lanes * r_.rows == 0 || step_.work > kMostWork || depth_ > kBlock) return false;
    if (r_.y_lane != 0 && r_.y_lane != 1) return false;  // a batch that would have to be packed twice
    if (packed(r_) && depth_ * packs * width_ > kRoom) return false;
    const int64_t k = regular() ? std::min<int64_t>(depth_, 8) : depth_;
    return repeats * (packs * r_.rows * k + (packed(r_) ? depth_ * r_.lanes : 0)) <= kMostWritten;
  }

  void write() {
    offsets();
    fetch_array(out_, kY, r_.y);
    fetch_array(out_, kX, r_.x);
    fetch_array(out_, kC, step_.c);
    if (packed(r_)) out_.fetch(kPacked, address_at(room_));
    masked_ = !out_.moves_whole(lanes_of(packs() - 1)) && (!packed(r_) || r_.y_lane);
    if (masked_) out_.load(width_, kMask, out_.lane_mask(lanes_of(packs() - 1)));
    Walk outer(pool_, step_.outer);
    for (int64_t r = outer.size(); r > 0; --r, outer.next()) {
      x_ = packed(r_) ? Memory{kPacked, 0} : Memory{kX, outer_x(outer) * out_.element()};
      y_ = {kY, (r_.x_stride == &Loop::b ? outer.a : outer.b) * out_.element()};
      c_ = {kC, outer.c * out_.element()};
      if (packed(r_)) pack({kX, outer_x(outer) * out_.element()});
      for (int p = 0, together; p < packs(); p += together) {
        together = packs() - p == 3 ? 3 : std::min(2, packs() - p);
        tiles(p, together);
      }
    }
  }

 private:
  static constexpr Gpr kY = Gpr::rax, kX = Gpr::rcx, kC = Gpr::rdx, kCount = Gpr::rsi;
  static constexpr Gpr kNextY = Gpr::r8, kNextX = Gpr::r9, kPacked = Gpr::r10;

  static bool packed(const Roles& r) { return r.x_lane != 1 && r.lanes > 1; }
  int packs() const { return int(pieces(r_.lanes, width_)); }
  int lanes_of(int pack) const { return int(std::min<int64_t>(width_, r_.lanes - pack * width_)); }
  int64_t outer_x(const Walk& outer) const { return r_.x_stride == &Loop::b ? outer.b : outer.a; }

  // A guess at what a choice of roles costs.
  double cycles(const Roles& r) const {
    const double packs = double(pieces(r.lanes, width_)), numbers = double(r.lanes * r.rows);
    const double stores = r.c_lane == 1 || r.lanes == 1 ? packs * double(r.rows) : 1.5 * numbers;
    return 0.5 * packs * double(r.rows * depth_) + stores + (packed(r) ? 0.75 * double(r.lanes * depth_) : 0);
  }

  // Where each k finds its numbers, in elements.
  void offsets() {
    Walk k(pool_, step_.k);
    for (int64_t i = 0; i < depth_; ++i, k.next()) {
      const bool x_is_b = r_.x_stride == &Loop::b;
      from_.push_back(x_is_b ? k.b : k.a);
      y_at_.push_back(x_is_b ? k.a : k.b);
      x_at_.push_back(packed(r_) ? i * packs() * width_ : from_.back());
    }
  }
  // Whether both advance by the same strides all along.
  bool regular() const { return step_.k.count <= 1; }

  // x in packs, in the order in which tiles read it.
  void pack(Memory from) const {
    for (int64_t k = 0, n; k < depth_; k += n) {
      n = run(k) ? neighbours(out_) : 1;
      for (int p = 0; p < packs(); ++p) {
        const auto number = [&](int lane) {
          return from + (from_[size_t(k)] + (p * width_ + lane) * r_.x_lane) * out_.element();
        };
        if (n == 1) gather_lanes(out_, lanes_of(p), 0, 1, number);
        else transpose_lanes(out_, lanes_of(p), 0, number);
        for (int64_t i = 0; i < n; ++i)
          out_.store(width_, Memory{kPacked, (x_at_[size_t(k + i)] + p * width_) * out_.element()}, int(i), 0);
      }
    }
  }
  // Whether the numbers of some k from this one on are neighbours.
  bool run(int64_t k) const {
    if (k + neighbours(out_) > depth_) return false;
    for (int i = 1; i < neighbours(out_); ++i)
      if (from_[size_t(k + i)] != from_[size_t(k)] + i) return false;
    return true;
  }

  void tiles(int pack, int together) {
    const int most = together == 1 ? 12 : together == 2 ? 6 : masked_ ? 3 : 4;
    const RowTiles rows(r_.rows, most);
    for (int64_t i = 0, begin = 0, end; i < rows.count; ++i, begin = end) {
      end = rows.end(i, begin);
      tile(begin, int(end - begin), pack, together);
    }
  }

  void tile(int64_t row, int rows, int pack, int together) {
    const auto products = [&](int64_t k, Memory y, Memory x, bool first) {
      multiply(row, rows, pack, together, k, y, x, first);
    };
    products(0, y_, x_, true);
    int64_t k = 1;
    if (const int64_t left = depth_ - 1; left * rows * together > kUnrolled && regular()) {
      int64_t unrolled = 4;
      for (int64_t u : {3, 2})
        if (left % u < left % unrolled) unrolled = u;
      out_.copy(kNextY, y_.base);
      out_.copy(kNextX, x_.base);
      out_.set(kCount, int32_t(left / unrolled));
      const size_t begin = out_.size();
      for (; k <= unrolled; ++k) products(k, {kNextY, y_.bytes}, {kNextX, x_.bytes}, false);
      out_.add(kNextY, unrolled * (y_at_[1] - y_at_[0]) * out_.element());
      out_.add(kNextX, unrolled * (x_at_[1] - x_at_[0]) * out_.element());
      out_.repeat(kCount, begin);
      k = 1 + left / unrolled * unrolled;
    }
    for (; k < depth_; ++k) products(k, y_, x_, false);
    for (int r = 0; r < rows; ++r)
      for (int v = 0; v < together; ++v) store(row + r, pack + v, r * together + v);
  }

  void multiply(int64_t row, int rows, int pack, int together, int64_t k, Memory y, Memory x, bool first) const {
    const int first_x = rows * together, other = masked_ ? kOther : kMask;
    const int64_t bytes = out_.element();
    for (int v = 0; v < together; ++v) {
      const int lanes = packed(r_) ? width_ : lanes_of(pack + v);
      out_.load(lanes, first_x + v, x + (x_at_[size_t(k)] + (pack + v) * width_) * bytes, kMask);
    }
    for (int r = 0; r < rows; ++r) {
      const Memory at = y + (y_at_[size_t(k)] + (row + r) * r_.y_row) * bytes;
      if (!r_.y_lane) out_.broadcast(other, at);
      for (int v = 0; v < together; ++v) {
        const int lanes = lanes_of(pack + v), sum = r * together + v;
        if (r_.y_lane) out_.load(lanes, other, at + (pack + v) * width_ * bytes, kMask);
        if (first) out_.mul(lanes, sum, other, first_x + v);
        else out_.fma231(lanes, sum, other, first_x + v);
      }
    }
  }

  void store(int64_t row, int pack, int sum) const {
    const int lanes = lanes_of(pack), half = width_ / 2, spare = masked_ ? kOther : kMask;
    const auto place = [&](int lane) {
      return c_ + (row * r_.c_row + (pack * width_ + lane) * r_.c_lane) * out_.element();
    };
    if (r_.c_lane == 1 || lanes == 1) return out_.store(lanes, place(0), sum, spare);
    for (int i = 0; i < std::min(half, lanes); ++i) out_.store_lane(i, place(i), sum);
    if (lanes <= half) return;
    out_.high_half(spare, sum);
    for (int i = half; i < lanes; ++i) out_.store_lane(i - half, place(i), spare);
  }

  Assembler& out_;
  const Step& step_;
  const Loop* pool_;
  const int32_t room_;
  const int width_;
  int64_t depth_ = 1;
  Roles r_;
  std::vector<int64_t> from_, x_at_, y_at_;  // [depth] from_: of x before it is packed
  Memory x_{kX, 0}, y_{kY, 0}, c_{kC, 0};     // at one index of `outer`
  bool masked_ = false;
};

}  // namespace irk
