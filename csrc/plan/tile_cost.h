// What a contraction costs on a core for one choice of lanes and rows, in cycles: fast/contract.h counted out for a nominal
// machine. A guide for the planner: no choice changes a bit. The prices fit 335 random contractions, all their choices
// timed on a Zen 4 core in float32: the cheapest one here takes 1.02 of the best time in the geometric mean.
#pragma once
#include <algorithm>
#include <vector>

#include "plan/program.h"

namespace irk {

class TileCost {
  static constexpr double kLanes = 16, kRows = 12, kBatchRows = 4, kDepth = 128;
  static constexpr double kLatency = 4;                          // of an fma: a thin tile waits for its own sums
  static constexpr double kTile = 19, kOuter = 105;              // beginning a tile, and a round of the outer loops
  static constexpr double kStore = 2.5, kPartLine = 4;           // a pack side by side; a row that fills part of a line
  static constexpr double kSquare = 105, kColumn = 1.4;          // a square of results transposed, and each of its columns
  static constexpr double kScattered = 1.7;                      // a result written alone
  static constexpr double kPackRow = 7.7, kPackSquare = 164, kPackOne = 1.7;  // packing: a row, a square, a number alone
  static constexpr double kTransposed = 0.7;                     // one of a copy that exchanges axes
  static constexpr int64_t kFar = 512, kShortestRun = 4;         // elements: as fast/contract.h, fast/panels.h have them
  static constexpr double kRight = 66560;

 public:
  TileCost(const std::vector<Loop>& loops, const std::vector<Loop>& k) : k_loops_(k) {
    for (const Loop& loop : loops) {
      total_ *= double(loop.extent);
      copy_ = copy_ && loop.a == 0;
    }
    copy_ = copy_ && k.empty();
    for (const Loop& loop : k) k_ *= double(loop.extent);
    if (k.empty()) return;
    if (k.back().a == 1) a_run_ = k.back().extent;
    if (k.back().b == 1) b_run_ = k.back().extent;
  }

  // Where nothing is summed and the rows lie side by side.
  static double products(const std::vector<Loop>& loops, const Loop& lane) {
    constexpr double kRow = 12;
    double rows = 1;
    for (const Loop& loop : loops) rows *= double(loop.extent);
    return rows / double(lane.extent) * (kRow + pieces(double(lane.extent), kLanes) * kStore);
  }

  // The same where one operand has two axes exchanged.
  static double turned(const std::vector<Loop>& loops) {
    double numbers = 1;
    for (const Loop& loop : loops) numbers *= double(loop.extent);
    return numbers * kTransposed;
  }

  // lane.b is not 0, row.b is.
  double of(const Loop& lane, const Loop& row) const {
    const double n = double(lane.extent), m = double(row.extent), outer = total_ / (n * m);
    if (copy_ && lane.b == 1 && lane.c != 1 && n >= kLanes) return total_ * kTransposed;  // fast/transpose.h, if its lanes are
    const bool batch = lane.a != 0, several = k_loops_.size() > 1;
    const bool far = (k_loops_.size() == 1 && k_loops_[0].a >= kFar) || row.a >= kFar;
    const bool pack_b = lane.b != 1 || several;
    const bool pack_a = several || (batch ? lane.a != 1 : n > 4 * kLanes && far);
    const double tiles = pieces(m, batch ? pack_a ? 1 : kBatchRows : kRows), height = m / tiles, packs = pieces(n, kLanes);
    double cost = tiles * columns(n, height, batch);
    cost += pieces(k_, kDepth) * stored(lane, row, m, tiles, packs);
    if (pack_b) cost += packed(lane.b, n, b_run_);
    if (pack_a && batch) cost += m * packed(lane.a, n, a_run_);
    if (pack_a && !batch) cost += pieces(n * std::min(k_, kDepth), kRight) * packed(row.a, m, a_run_);
    return outer * (cost + kOuter);
  }

 private:
  static double pieces(double n, double most) { return double(int64_t((n + most - 1) / most)); }

  // A row of tiles.
  double columns(double n, double height, bool batch) const {
    const double wide = double(int64_t(n / (2 * kLanes))), rest = pieces(n - wide * 2 * kLanes, kLanes);
    const auto tile = [&](double packs) {
      const double loads = packs + height * (batch ? packs : 0.5);
      return k_ * std::max({height * packs, loads, kLatency}) + kTile * pieces(k_, kDepth);
    };
    return wide * tile(2) + (rest ? tile(rest) : 0);
  }

  static double stored(const Loop& lane, const Loop& row, double m, double tiles, double packs) {
    const double n = double(lane.extent);
    if (lane.c == 1) return m * (packs * kStore + (n < kLanes && row.c >= int64_t(kLanes) ? kPartLine : 0));
    if (row.c == 1) return tiles * (packs * kSquare + n * kColumn);
    return m * n * kScattered;
  }

  // All k of `n` numbers that lie `stride` apart.
  double packed(int64_t stride, double n, int64_t run) const {
    if (stride == 1) return k_ * pieces(n, kLanes) * kPackRow;
    if (run >= kShortestRun) return pieces(k_, kLanes) * pieces(n, kLanes) * kPackSquare;
    return k_ * n * kPackOne;
  }

  const std::vector<Loop>& k_loops_;
  double total_ = 1, k_ = 1;
  bool copy_ = true;  // a is the constant 1
  int64_t a_run_ = 1, b_run_ = 1;
};

}  // namespace irk
