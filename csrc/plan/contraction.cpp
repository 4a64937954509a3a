#include "plan/contraction.h"

#include <algorithm>

namespace irk {
namespace {

constexpr double kNominalLanes = 16, kNominalRows = 12;  // a float32 tile of the widest target; only a guide
constexpr int64_t kFar = 512;  // elements from one k to the next beyond which each lies on a page of its own

double utilisation(double extent) {
  const double packs = double(int64_t((extent + kNominalLanes - 1) / kNominalLanes));
  return extent / (packs * kNominalLanes);
}

void swap_sides(Loop& loop) { std::swap(loop.a, loop.b); }

// How well `lane` serves as the vector letter when b is the operand read along it, and which loop becomes the rows.
// k: contracted indices, a_k: stride of a along the fastest of them.
double score(const std::vector<Loop>& loops, size_t lane, double k, int64_t a_k, size_t& row) {
  const Loop& l = loops[lane];
  if (l.b == 0) return 0;
  double rows = 1;
  row = loops.size();
  for (size_t j = 0; j < loops.size(); ++j)
    if (j != lane && loops[j].b == 0 && double(loops[j].extent) > rows) { rows = double(loops[j].extent); row = j; }
  const double tall = rows / double(int64_t((rows + kNominalRows - 1) / kNominalRows));  // rows of a tile
  double s = utilisation(double(l.extent)) * tall / (tall + 1);
  if (l.b != 1) s *= rows / (rows + 16);             // packed once, read by every row
  if (row < loops.size() && loops[row].a == 1 && a_k >= kFar) s *= 0.8;  // a few rows of each line of memory
  if (l.a > 1 || l.a < 0) s *= 0.3;                  // packed for each row
  if (l.c != 1) s *= (k + 1) / (k + (row < loops.size() && loops[row].c == 1 ? 3 : 13));  // squares transposed, or one by one
  return s;
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
  double k = 1;
  for (const Loop& loop : out.k) k *= double(loop.extent);

  double best = -1;
  size_t best_lane = 0, best_row = loops.size();
  for (int swapped = 0; swapped < 2; ++swapped) {
    const int64_t a_k = out.k.empty() ? 0 : swapped ? out.k.back().b : out.k.back().a;
    for (size_t lane = 0; lane < loops.size(); ++lane) {
      size_t row = loops.size();
      const double s = score(loops, lane, k, a_k, row);
      if (s > best) { best = s; best_lane = lane; best_row = row; out.swapped = swapped; }
    }
    for (Loop& loop : loops) swap_sides(loop);
  }
  if (out.swapped) {
    for (Loop& loop : loops) swap_sides(loop);
    for (Loop& loop : out.k) swap_sides(loop);
  }
  for (size_t i = 0; i < loops.size(); ++i) {
    if (i == best_lane) out.lane = loops[i];
    else if (i == best_row) out.row = loops[i];
    else out.outer.push_back(loops[i]);
  }
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
