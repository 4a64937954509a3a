// Writing steps into a plan: each method appends one kind of step for tensors that are placed already.
#pragma once
#include "plan/placement.h"

namespace irk {

class Emission : public Placement {
 public:
  using Placement::Placement;

 protected:
  Span pool(const std::vector<Loop>& loops) {
    const Span span{int32_t(plan_.loops.size()), int32_t(loops.size())};
    plan_.loops.insert(plan_.loops.end(), loops.begin(), loops.end());
    return span;
  }

  void contract(const Tensor& a, const Tensor& b, const Tensor& c) {
    Contraction parts = arrange(product_, local_, a, b, c);
    Step step{};
    const bool single = std::none_of(product_.letters.begin(), product_.letters.end(), [&](const Letter& letter) {
      return !letter.ellipsis && c.letters[size_t(&letter - product_.letters.data())];
    });
    step.op = single && !parts.k.empty() ? Op::dot : Op::contract;
    if (step.op == Op::dot) {
      parts.outer.insert(parts.outer.begin(), {parts.row, parts.lane});
      merge_loops(parts.outer);
      parts.row = parts.lane = {1, 0, 0, 0};
    }
    step.a = parts.swapped ? b.ref : a.ref;
    step.b = parts.swapped ? a.ref : b.ref;
    step.c = c.ref;
    step.outer = pool(parts.outer);
    step.k = pool(parts.k);
    step.row = parts.row;
    step.lane = parts.lane;
    step.work = parts.work;
    plan_.steps.push_back(step);
  }

  void fill(Ref c, int64_t count) { fill(c, std::vector<Loop>{{count, 0, 0, 1}}); }

  // Zeros over a nest of loops, outermost first.
  void fill(Ref c, std::vector<Loop> loops) {
    merge_loops(loops);
    Step step{};
    step.op = Op::fill;
    step.c = c;
    step.order = -1;
    step.count = 1;
    if (!loops.empty() && loops.back().c == 1) {
      step.count = loops.back().extent;
      loops.pop_back();
    }
    step.outer = pool(loops);
    plan_.steps.push_back(step);
  }

  // Copies between storage and compute type along the axes of a tensor.
  void convert(Op op, Ref from, Ref to, const std::vector<int>& axes, const std::vector<int64_t>& shape,
               const std::vector<int64_t>& from_strides, const std::vector<int64_t>& to_strides) {
    std::vector<Loop> loops;
    for (size_t axis = 0; axis < axes.size(); ++axis)
      if (local_[axes[axis]] && shape[axis] != 1) loops.push_back({shape[axis], from_strides[axis], 0, to_strides[axis]});
    merge_loops(loops);
    Step step{};
    step.op = op;
    step.a = from;
    step.c = to;
    step.outer = pool(loops);
    step.count = 1;
    for (const Loop& loop : loops) step.count *= loop.extent;
    plan_.steps.push_back(step);
  }

  // Columns of the coordinates, with their strides in two arrays; dense '...' letters become outer loops.
  void add_entry_loops(Step& step, const Tensor& first, const Tensor& second, const Tensor& entries, bool axpy) {
    std::vector<Loop> columns, outer, k;
    int64_t column = 0, span[2] = {1, 1};
    step.work = request_.nnz;
    for (int l : product_.output) {
      const int64_t s = first.strides[l], t = second.strides[l];
      if (!product_.letters[l].ellipsis) {
        if (s || t) columns.push_back(axpy ? Loop{column, 0, s, t} : Loop{column, s, t, 0});
        ++column;
        span[0] += (product_.extent(l) - 1) * s;
        span[1] += (product_.extent(l) - 1) * t;
      } else if (local_[l]) {
        outer.push_back(axpy ? Loop{product_.extent(l), entries.strides[l], s, t} : Loop{product_.extent(l), s, t, entries.strides[l]});
        step.work = checked_times(step.work, product_.extent(l), "multiply-adds");
      }
    }
    const LetterSet& output = tree_.nodes[tree_.root].letters;
    for (size_t l = 0; l < product_.letters.size(); ++l) {
      if (output[l] || !local_[l] || !(first.letters[l] || second.letters[l])) continue;
      k.push_back(axpy ? Loop{product_.extent(int(l)), 0, first.strides[l], second.strides[l]}
                       : Loop{product_.extent(int(l)), first.strides[l], second.strides[l], 0});
      step.work = checked_times(step.work, product_.extent(int(l)), "multiply-adds");
    }
    merge_loops(k);
    step.spread = axpy ? span[0] : std::max(span[0], span[1]);
    step.columns = pool(columns);
    step.outer = pool(outer);
    step.k = pool(k);
  }

  // The sorted order of the entries by the columns that `t` has: entries of one row of it come together.
  int32_t order_by(const Tensor& t) {
    std::vector<int> columns;
    int column = 0;
    for (int l : product_.output) {
      if (product_.letters[l].ellipsis) continue;
      if (t.letters[l] && t.strides[l]) columns.push_back(column);
      ++column;
    }
    const auto found = std::find(plan_.orders.begin(), plan_.orders.end(), columns);
    const int32_t order = int32_t(found - plan_.orders.begin());
    if (found == plan_.orders.end()) plan_.orders.push_back(columns);
    return order;
  }

  // order: that the entries are taken in, -1 for the caller's; entries of one row of `left` best come together.
  void sampled_dot(const Tensor& left, const Tensor& right, const Tensor& entries, int32_t order) {
    Step step{};
    step.order = order;
    step.op = Op::sampled_dot;
    step.a = left.ref;
    step.b = right.ref;
    step.c = entries.ref;
    add_entry_loops(step, left, right, entries, false);
    plan_.steps.push_back(step);
  }

  // Zeros, where sampled_axpy finds no entry for a row.
  void fill_rows(const Tensor& into) {
    std::vector<Loop> all;
    for (int l : layout_of(into)) all.push_back({product_.extent(l), 0, 0, into.strides[l]});
    fill(into.ref, all);
  }
  // The same, for who need not do it where every row has an entry.
  void fill_rows_without_entries(const Tensor& into) {
    fill_rows(into);
    Step& step = plan_.steps.back();
    step.order = order_by(into);
    step.spread = 1;
    for (int l : product_.output)
      if (!product_.letters[l].ellipsis && into.letters[l]) step.spread = checked_times(step.spread, product_.extent(l), "rows");
  }

  // into[at(n), k] = sum over n of g[n] * other[at(n), k], entries sorted by the columns that `into` has.
  void sampled_axpy(const Tensor& g, const Tensor& other, const Tensor& into) {
    Step step{};
    step.op = Op::sampled_axpy;
    step.a = g.ref;
    step.b = other.ref;
    step.c = into.ref;
    add_entry_loops(step, other, into, g, true);
    step.order = order_by(into);
    plan_.steps.push_back(step);
  }
};

}  // namespace irk
