#include "plan/contraction.h"

#include <algorithm>
#include <limits>

#include "plan/tile_cost.h"

namespace irk {
namespace {

constexpr double kNominalLanes = 16;  // float32 of the widest target; only a guide

double utilisation(double extent) {
  const double packs = double(int64_t((extent + kNominalLanes - 1) / kNominalLanes));
  return extent / (packs * kNominalLanes);
}

void swap_sides(Loop& loop) { std::swap(loop.a, loop.b); }

void swap_sides(Contraction& parts) {
  for (std::vector<Loop>* loops : {&parts.outer, &parts.k})
    for (Loop& loop : *loops) swap_sides(loop);
  swap_sides(parts.row);
  swap_sides(parts.lane);
  parts.swapped = !parts.swapped;
}

// Whether results side by side along this loop are products of one operand that lies as they do, or has one number for all
// of them, and of one whose unit stride runs along the next loop: fast/transpose.h. (s >> 1 is 0 for strides 0 and 1.)
bool turns(const std::vector<Loop>& loops, size_t lane) {
  if (loops.size() < 2 || lane + 1 != loops.size() || loops[lane].c != 1) return false;
  const Loop &fast = loops[lane], &next = loops[lane - 1];
  if (std::min(fast.extent, next.extent) < int64_t(kNominalLanes)) return false;
  return (next.b == 1 && fast.b != 1 && fast.a >> 1 == 0) || (next.a == 1 && fast.a != 1 && fast.b >> 1 == 0);
}

// The cheapest lane and rows of all; the other loops go around them.
void choose_tile(std::vector<Loop>& loops, Contraction& out) {
  const size_t none = loops.size();
  if (loops.empty()) return;
  double least = std::numeric_limits<double>::infinity();
  size_t best_lane = none, best_row = none;
  bool swapped = false;
  for (int side = 0; side < 2; ++side) {
    const TileCost cost(loops, out.k);
    for (size_t lane = 0; lane < loops.size(); ++lane) {
      if (loops[lane].b == 0) continue;
      for (size_t row = 0; row <= loops.size(); ++row) {
        if (row == lane || (row != none && loops[row].b != 0)) continue;
        const double c = cost.of(loops[lane], row == none ? Loop{1, 0, 0, 0} : loops[row]);
        if (c < least) { least = c; best_lane = lane; best_row = row; swapped = side; }
      }
    }
    for (Loop& loop : loops) swap_sides(loop);
    for (Loop& loop : out.k) swap_sides(loop);
  }
  if (out.k.empty()) {  // rows side by side, whatever they are made of: fast/contract.h, products()
    for (size_t lane = 0; lane < loops.size(); ++lane) {
      if (turns(loops, lane) && TileCost::turned(loops) < least) least = TileCost::turned(loops), best_lane = lane, best_row = none, swapped = false;
      if (loops[lane].c != 1 || loops[lane].a >> 1 || loops[lane].b >> 1) continue;
      const double c = TileCost::products(loops, loops[lane]);
      if (c >= least) continue;
      least = c, best_lane = lane, best_row = none, swapped = false;
      for (int side = 0; side < 2 && best_row == none; ++side)
        for (size_t row = 0; row < loops.size(); ++row)
          if (row != lane && (side ? loops[row].a : loops[row].b) == 0) best_row = row, swapped = side;
    }
  }
  for (size_t i = 0; i < loops.size(); ++i) {
    if (i == best_lane) out.lane = loops[i];
    else if (i == best_row) out.row = loops[i];
    else out.outer.push_back(loops[i]);
  }
  out.cost = least;
  if (swapped) swap_sides(out);
}

}  // namespace

void merge_loops(std::vector<Loop>& loops) {
  std::vector<Loop> merged;
  for (const Loop& in : loops) {
    if (in.extent == 1) continue;
    if (!merged.empty()) {
      Loop& out = merged.back();
      if (out.a == in.a * in.extent && out.b == in.b * in.extent && out.c == in.c * in.extent) {
        out = {out.extent * in.extent, in.a, in.b, in.c};
        continue;
      }
    }
    merged.push_back(in);
  }
  loops = merged;
}

Contraction arrange(const Product& product, const LetterSet& local, const Tensor& a, const Tensor& b, const Tensor& c) {
  Contraction out;
  std::vector<Loop> loops;
  for (size_t l = 0; l < product.letters.size(); ++l) {
    if (!local[l]) continue;
    const int64_t extent = product.letters[l].extent;
    if (c.letters[l]) loops.push_back({extent, a.strides[l], b.strides[l], c.strides[l]});
    else if (a.letters[l] || b.letters[l]) out.k.push_back({extent, a.strides[l], b.strides[l], 0});
    else continue;
    out.work = checked_times(out.work, extent, "multiply-adds");
  }
  std::stable_sort(loops.begin(), loops.end(), [](const Loop& x, const Loop& y) { return x.c > y.c; });
  merge_loops(loops);
  merge_loops(out.k);
  out.cost = double(out.work);
  choose_tile(loops, out);
  return out;
}

std::vector<int> choose_layout(const Product& product, const Tensor& a, const Tensor& b, const LetterSet& result) {
  int lane = -1;
  double best = -1;
  for (size_t l = 0; l < product.letters.size(); ++l) {
    if (!result[l]) continue;
    const bool unit_a = a.letters[l] && a.strides[l] == 1, unit_b = b.letters[l] && b.strides[l] == 1;
    const double s = (unit_a && unit_b ? 3 : unit_b ? 2 : unit_a ? 1.5 : 0) * utilisation(double(product.letters[l].extent));
    if (s > best) { best = s; lane = int(l); }
  }
  const bool lane_in_b = lane >= 0 && b.letters[lane];
  const Tensor &inner = lane_in_b ? b : a, &other = lane_in_b ? a : b;
  std::vector<int> letters;
  for (size_t l = 0; l < product.letters.size(); ++l)
    if (result[l]) letters.push_back(int(l));
  std::stable_sort(letters.begin(), letters.end(), [&](int x, int y) {
    if (inner.letters[x] != inner.letters[y]) return !inner.letters[x];
    const Tensor& t = inner.letters[x] ? inner : other;
    if ((x == lane) != (y == lane)) return y == lane;
    return t.strides[x] > t.strides[y];
  });
  return letters;
}

}  // namespace irk
