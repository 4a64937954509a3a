// Listed entries from gathered rows: a block of entries is a dense product of its rows, made by one member from beginning to
// end; gradients of rows are added to the operands' by all members together once a round of blocks is done.
#pragma once
#include <algorithm>

#include "fast/alike_rows.h"
#include "run/frame.h"
#include "steps/rows.h"

namespace irk {

template <class T, class Index>
class GatheredStep {
 public:
  GatheredStep(const Frame<T>& frame, const Step& step)
      : frame_(frame), step_(step), g_(*frame.program.gathered), entries_(*frame.entries), n_(frame.program.n_operands),
        blocks_((entries_.nnz + g_.block - 1) / g_.block), alike_(g_, n_, frame.program.loops, entries_, frame.base) {}

  void value(const Team& team) const {
    team.sync();
    const int64_t members = std::min<int64_t>(team.size, g_.slots);
    for (int64_t b = team.rank; team.rank < members && b < blocks_ && !team.stopped(); b += members) {
      if (g_.padded) {
        alike_.value(b * g_.block, count(b), frame_.at(step_.c) + b * g_.block);
        continue;
      }
      T* slot = slot_of(team.rank);
      run(b, slot, *g_.value[!whole(b)], nullptr);
      Walk dense(frame_.program.loops, g_.dense);
      const int64_t repeats = dense.size();
      for (int64_t i = 0; i < repeats; ++i, dense.next()) {
        const T* from = slot + g_.output + i * count(b);
        std::copy(from, from + count(b), frame_.at(step_.c) + dense.b + b * g_.block);
      }
    }
    team.sync();
  }

  void pull(const Team& team) const {
    if (g_.summed) return pull_sums(team);
    const int64_t side = std::min<int64_t>(team.size, g_.slots);
    int64_t parts = g_.padded ? alike_.parts() : 0;
    for (int i = 0; i < n_ && !g_.padded; ++i) parts += moves(i) ? g_.operands[i].width : 0;
    team.sync();
    for (int64_t first = 0; first < blocks_; first += side) {
      const int64_t last = std::min(blocks_, first + side);
      if (first + team.rank < last && team.rank < side && !team.stopped()) pull_block(first + team.rank, team.rank);
      team.sync();
      scatter(first, last, team.begin(parts), team.end(parts));
      team.sync();
    }
  }

 private:
  bool moves(int i) const { return g_.operands[i].gradient.buffer != kNowhere; }
  bool whole(int64_t b) const { return (b + 1) * g_.block <= entries_.nnz; }
  int64_t count(int64_t b) const { return std::min(g_.block, entries_.nnz - b * g_.block); }
  T* slot_of(int64_t i) const { return frame_.at(step_.b) + i * g_.slot; }

  void pull_block(int64_t b, int64_t slot) const {
    T* const cotangent = frame_.at(step_.a) + b * g_.block;
    if (g_.padded) alike_.pull(b * g_.block, count(b), cotangent, slot_of(slot));
    else run(b, slot_of(slot), *g_.pull[!whole(b)], cotangent);
  }

  // Every block sums the gradients of its rows; then the operands' take these sums, one block after the other.
  void pull_sums(const Team& team) const {
    team.sync();
    for (int64_t b = team.rank; b < blocks_ && !team.stopped(); b += team.size) pull_block(b, b);
    team.sync();
    alike_.collect(slot_of(0), blocks_, team.begin(alike_.parts()), team.end(alike_.parts()));
    team.sync();
  }

  // The dense product of one block, or its gradients.
  void run(int64_t b, T* slot, const Program& program, T* cotangent) const {
    char* base[kMaxBuffers];
    base[kScratch] = bytes(slot + g_.scratch);
    base[kSaved] = nullptr;
    base[kOutput] = bytes(slot + g_.output);
    base[kCotangent] = bytes(cotangent);
    base[kOne] = frame_.base[kOne];
    for (int i = 0; i < n_; ++i) {
      const RowsOperand& o = g_.operands[i];
      base[kOperands + i] = bytes(o.rows < 0 ? frame_.at(o.operand) : slot + o.rows);
      base[kOperands + n_ + i] = o.pulled < 0 ? nullptr : bytes(slot + o.pulled);
      if (o.rows >= 0) gather_rows<T, Index>(o, frame_.program.loops, entries_, b * g_.block, count(b), frame_.at(o.operand), slot + o.rows);
    }
    const Frame<T> inner{program, nullptr, nullptr, base, 0};
    for (int s = 0; s < program.n_steps; ++s) inner.run(program.steps[s], Team());
  }

  static char* bytes(T* p) { return reinterpret_cast<char*>(p); }

  // Parts [begin, end) of the rows, block after block: packs of alike ones, else elements of all side by side.
  void scatter(int64_t first, int64_t last, int64_t begin, int64_t end) const {
    for (int64_t b = first; b < last && g_.padded; ++b) alike_.add(b * g_.block, count(b), slot_of(b - first), begin, end);
    for (int i = 0; i < n_ && !g_.padded; ++i) {
      const RowsOperand& o = g_.operands[i];
      if (!moves(i)) continue;
      const int64_t from = std::clamp<int64_t>(begin, 0, o.width), to = std::clamp<int64_t>(end, 0, o.width);
      for (int64_t b = first; b < last && from < to; ++b)
        scatter_rows<T, Index>(o, frame_.program.loops, entries_, b * g_.block, count(b), slot_of(b - first) + o.pulled,
                               frame_.at(o.gradient), from, to);
      begin -= o.width;
      end -= o.width;
    }
  }

  const Frame<T>& frame_;
  const Step& step_;
  const Gathered& g_;
  const Entries& entries_;
  const int n_;
  const int64_t blocks_;
  const AlikeRows<T, Index> alike_;
};

template <class T>
template <class Index>
void Frame<T>::gathered(const Step& step, const Team& team) const {
  const GatheredStep<T, Index> rows(*this, step);
  if (step.op == Op::rows_value) rows.value(team);
  else rows.pull(team);
}

}  // namespace irk
