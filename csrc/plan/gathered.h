// Writing the steps of gathered rows into a plan: which rows a block of entries has, and the dense plans of its product.
#pragma once
#include "plan/exponents.h"
#include "plan/gather.h"

namespace irk {

class GatheredEmission : public ExponentEmission {
 public:
  using ExponentEmission::ExponentEmission;

 protected:
  // Describes rows and blocks. gradients [operands]: where those wanted are added to. Intermediates are named by their number
  // until resolve_rows(). Returns the elements of the workspace.
  int64_t describe_rows(const std::vector<Tensor>& gradients, bool value, bool pull) {
    find_listed();
    const bool alike = rows_alike();
    int64_t width = 0;
    for (size_t i = 0; i < values_.size(); ++i) width += describe(i, gradients[i], pull && plan_.wanted[i], alike);
    Gathered& g = plan_.blocks.gathered;
    if (alike) return describe_alike(g, pull);
    const BlockSizes sizes = block_sizes(width, request_.nnz, kBlockElements);
    g.block = sizes.block;
    g.slots = sizes.slots;
    int64_t dense = 1;
    std::vector<Loop> loops;
    for (int l : product_.output) {
      if (!product_.letters[size_t(l)].ellipsis || !local_[size_t(l)]) continue;
      loops.push_back({product_.extent(l), 0, output_.strides[size_t(l)], 0});
      dense *= product_.extent(l);
    }
    g.dense = pool(loops);
    g.output = 0;
    int64_t end = whole_line(sizes.block * dense);
    for (size_t i = 0; i < values_.size(); ++i) {
      RowsOperand& o = plan_.blocks.operands[i];
      const int64_t elements = whole_line(o.width * (o.rows < 0 ? 1 : sizes.block));
      if (o.rows >= 0) { o.rows = end; end += elements; }
      if (o.gradient.buffer != kNowhere) { o.pulled = end; end += elements; }
    }
    g.scratch = end;
    int64_t inner = 0;
    for (int last = 0; last < (sizes.last ? 2 : 1); ++last) {
      const int64_t entries = last ? sizes.last : sizes.block;
      if (value) inner = std::max(inner, plan_block(entries, exponents_only() ? request_.stage : Stage::value, plan_.blocks.value[last]));
      if (pull) inner = std::max(inner, plan_block(entries, Stage::gradients, plan_.blocks.pull[last]));
    }
    g.slot = end + whole_line(inner);
    return checked_times(g.slots, g.slot, "elements of workspace");
  }

  void rows_step(Op op, Ref from, Ref workspace, Ref to) {
    Step step{};
    step.op = op;
    step.a = from;
    step.b = workspace;
    step.c = to;
    const auto& plans = op == Op::rows_value ? plan_.blocks.value : plan_.blocks.pull;
    const Gathered& g = plan_.blocks.gathered;
    const int64_t each = g.padded ? int64_t(values_.size()) * plan_.blocks.operands[0].width * (op == Op::rows_value ? 1 : 4) : 0;
    step.work = g.padded ? checked_times(request_.nnz, each, "multiply-adds")
                         : checked_times(request_.nnz / g.block, plans[0]->work, "multiply-adds");
    if (plans[1]) step.work += plans[1]->work;
    plan_.steps.push_back(step);
  }

  void resolve_rows() {
    auto& blocks = plan_.blocks;
    for (RowsOperand& o : blocks.operands)
      for (Ref* ref : {&o.operand, &o.gradient})
        if (ref->buffer == kScratch) ref->offset = arena_.offset(ref->offset);
    blocks.gathered.operands = blocks.operands.data();
    for (int last = 0; last < 2; ++last) {
      const auto read = [&](const std::shared_ptr<const Plan>& plan, Program& program) -> const Program* {
        if (!plan) return nullptr;
        program = plan->program();
        return &program;
      };
      blocks.gathered.value[last] = read(blocks.value[last], blocks.programs[last]);
      blocks.gathered.pull[last] = read(blocks.pull[last], blocks.programs[2 + last]);
    }
  }

 private:
  static int64_t whole_line(int64_t elements) { return (elements + 15) / 16 * 16; }

  void find_listed() {
    for (int l : product_.output) listed_.set(size_t(l), !product_.letters[size_t(l)].ellipsis);
  }
  bool listed(size_t i, int l) const { return listed_[size_t(l)] && values_[i].letters[size_t(l)]; }

  // Whether the rows of all operands have the same letters, which are summed: entries are sums of products element by element.
  bool rows_alike() const {
    if (exponents_only()) return false;
    for (int l : product_.output)
      if (!listed_[size_t(l)] && local_[size_t(l)]) return false;
    const LetterSet row = values_[0].letters.without(listed_);
    return std::all_of(values_.begin(), values_.end(), [&](const Tensor& t) { return t.letters.without(listed_) == row; });
  }

  // The workspace of a block: products of the operands before each, [operands, side, lanes], their exponents, and gradients
  // of rows. Where many entries share a row there is a block for each of few members, which sums them; else they lie one
  // by one, [operands, entries, padded], and are added to the operands' in a round of their own.
  int64_t describe_alike(Gathered& g, bool pull) {
    constexpr int64_t kLanes = 16, kBlocks = 8, kFewest = 512;
    const int64_t n = int64_t(values_.size());
    g.padded = whole_line(plan_.blocks.operands[0].width);
    const int64_t each = checked_times(n, g.padded, "elements of rows"), blocks = std::clamp<int64_t>(request_.nnz / kFewest, 1, kBlocks);
    double sums = 0;
    for (RowsOperand& o : plan_.blocks.operands) {
      if (o.gradient.buffer == kNowhere) continue;
      o.pulled = sums <= kAlikeElements ? int64_t(sums) : -1;
      double elements = double(g.padded);
      for (int l = o.listed.first; l < o.listed.first + o.listed.count; ++l) elements *= double(plan_.loops[size_t(l)].extent);
      sums += elements;
    }
    const bool summed = pull && sums <= kAlikeElements && sums * double(blocks) <= 0.5 * double(each) * double(request_.nnz);
    const BlockSizes sizes = block_sizes(each, request_.nnz, kAlikeElements);
    g.block = summed ? (request_.nnz + blocks - 1) / blocks : sizes.block;
    g.slots = summed ? blocks : sizes.slots;
    g.summed = summed ? int64_t(sums) : 0;
    g.dense = pool({});
    g.output = 0;
    g.scratch = n * kAlikeSide * kLanes;
    g.sums = g.scratch + (n + 7) / 8 * kAlikeSide * kLanes;
    g.slot = pull ? g.sums + (summed ? g.summed : checked_times(each, g.block, "elements of rows")) : 0;
    return checked_times(g.slots, g.slot, "elements of workspace");
  }

  // Letters of a row, outermost first.
  std::vector<int> rest_of(size_t i) const {
    std::vector<int> rest;
    for (int l : layout_of(values_[i]))
      if (!listed(i, l)) rest.push_back(l);
    return rest;
  }

  // Returns the elements that a row adds to each entry's.
  int64_t describe(size_t i, const Tensor& gradient, bool wanted, bool alike) {
    const Tensor& t = values_[i];
    const auto stride = [&](int l) { return wanted ? gradient.strides[size_t(l)] : 0; };
    RowsOperand o{t.ref, wanted ? gradient.ref : Ref{kNowhere, 0}, {}, {}, {}, 1, -1, -1};
    std::vector<Loop> columns, letters, rest;
    int64_t column = 0, rows = 1;
    for (int l : product_.output) {
      if (listed(i, l)) {
        columns.push_back({column, t.strides[size_t(l)], stride(l), rows});
        letters.push_back({product_.extent(l), 0, stride(l), rows});
        rows = int64_t(uint64_t(rows) * uint64_t(product_.extent(l)));  // without meaning where it is beyond all numbers
      }
      column += !product_.letters[size_t(l)].ellipsis;
    }
    std::vector<int> row = rest_of(i);
    if (alike) std::sort(row.begin(), row.end());
    for (int l : row) {
      rest.push_back({product_.extent(l), t.strides[size_t(l)], stride(l), 0});
      o.width = checked_times(o.width, product_.extent(l), "elements of a row");
    }
    merge_loops(rest);
    o.columns = pool(columns);
    o.listed = pool(letters);
    o.rest = pool(rest);
    if (!columns.empty()) o.rows = 0;
    plan_.blocks.operands.push_back(o);
    return columns.empty() ? 0 : o.width;
  }

  // The dense plan of so many entries; returns its scratch.
  int64_t plan_block(int64_t entries, Stage stage, std::shared_ptr<const Plan>& plan) const {
    auto [rows, letter] = product_of_rows(product_, entries);
    const int entry = int(rows.letters.size()) - 1;
    PlanRequest request;
    request.stage = stage;
    request.dtype = request_.dtype == Dtype::f64 ? Dtype::f64 : Dtype::f32;
    request.wanted = plan_.wanted;
    rows.output.clear();
    for (int l : product_.output) {
      if (!product_.letters[size_t(l)].ellipsis || !local_[size_t(l)]) continue;
      rows.output.push_back(letter[size_t(l)]);
      request.cotangent.strides.push_back(output_.strides[size_t(l)]);
    }
    rows.output.push_back(entry);
    request.cotangent.strides.push_back(1);
    request.cotangent.shape = rows.output_shape();
    for (size_t i = 0; i < values_.size(); ++i) {
      const bool has_rows = plan_.blocks.operands[i].rows >= 0;
      Operand& operand = rows.operands[i];
      operand.letters = {};
      operand.strides.assign(rows.letters.size(), 0);
      std::vector<int64_t> strides;  // of each axis
      if (has_rows) operand.axes.push_back(entry);
      for (int l : rest_of(i)) {
        operand.axes.push_back(letter[size_t(l)]);
        strides.push_back(values_[i].strides[size_t(l)]);
      }
      for (int l : operand.axes) operand.shape.push_back(rows.extent(l));
      if (has_rows) strides = contiguous(operand.shape);
      for (size_t axis = 0; axis < strides.size(); ++axis) {
        if (operand.shape[axis] == 1) continue;
        operand.letters.set(size_t(operand.axes[axis]));
        operand.strides[size_t(operand.axes[axis])] = strides[axis];
      }
      request.operands.push_back({operand.shape, strides});
    }
    plan = make_plan(request, rows);
    return plan->scratch;
  }

  LetterSet listed_;  // letters that coordinates list
};

}  // namespace irk
