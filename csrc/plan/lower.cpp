// Tree -> steps: up the tree for values, down it for gradients, two contractions a node.
#include <algorithm>
#include <stdexcept>

#include "plan/arena.h"
#include "plan/blas.h"
#include "plan/contraction.h"
#include "plan/plan.h"

namespace irk {
namespace {

bool is_half(Dtype d) { return d == Dtype::bf16 || d == Dtype::f16; }

std::vector<int64_t> contiguous(const std::vector<int64_t>& shape) {
  std::vector<int64_t> strides(shape.size());
  int64_t stride = 1;
  for (size_t i = shape.size(); i-- > 0;) { strides[i] = stride; stride *= shape[i]; }
  return strides;
}

class Lowering {
 public:
  Lowering(const PlanRequest& request, Plan& plan) : request_(request), plan_(plan), product_(plan.product), tree_(plan.tree) {
    find_trials();
    place_leaves();
    for (size_t i = 0; i < tree_.nodes.size(); ++i) place(int(i));
  }

  void run() {
    const Stage stage = request_.stage;
    const bool up = stage != Stage::backward;
    const bool down = stage == Stage::backward || stage == Stage::gradients || stage == Stage::train;
    const bool root = stage != Stage::backward && stage != Stage::gradients;
    if (product_.empty) return fill_everything(root, down);
    if (up) lower_values(root);
    Tensor cotangent = root ? prediction_ : dense_cotangent();
    if (stage == Stage::loss || stage == Stage::train) lower_loss();
    if (down) lower_gradients(cotangent);
    plan_.scratch = arena_.resolve(plan_.steps);
    if (stage == Stage::train)
      for (size_t i = 0; i < product_.operands.size(); ++i)
        plan_.gradient_offsets.push_back(plan_.wanted[i] ? arena_.offset(gradients_[i].ref.offset) : -1);
    for (const Step& step : plan_.steps) plan_.work += step.work;
  }

 private:
  int gradient_buffer(size_t i) const { return kOperands + int(product_.operands.size() + i); }

  // ---- trials: '...' axes that every operand and the output have are loops around the plan ----

  void find_trials() {
    const std::vector<int64_t> output_strides = sampled() ? sampled_strides() : contiguous(product_.output_shape());
    const size_t n = product_.operands.size(), n_buffers = kOperands + 2 * n;
    output_ = tensor_of({kOutput, 0}, product_.output, output_strides);
    for (size_t l = 0; l < product_.letters.size(); ++l) local_[l] = product_.letters[l].extent != 1;
    if (request_.stage == Stage::train) return train_trials();
    for (size_t at = product_.output.size(); at-- > 0;) {  // innermost last in the output is fastest in the saved buffer
      const int l = product_.output[at];
      const bool everywhere = product_.letters[l].ellipsis && local_[l] &&
                              std::all_of(product_.operands.begin(), product_.operands.end(),
                                          [l](const Operand& o) { return o.letters[l]; });
      if (!everywhere) continue;
      local_.reset(l);
      std::vector<int64_t> strides(n_buffers, 0);
      for (size_t i = 0; i < n; ++i) {
        const Operand& operand = product_.operands[i];
        strides[kOperands + i] = operand.strides[l];
        const auto own = contiguous(operand.shape);
        for (size_t axis = 0; axis < operand.axes.size(); ++axis)
          if (operand.axes[axis] == l) strides[gradient_buffer(i)] += own[axis];
      }
      strides[kOutput] = output_.strides[l];
      strides[kCotangent] = sampled() ? output_.strides[l] : cotangent_stride(l);
      strides[kSaved] = plan_.trials;  // times the saved elements of a trial, once they are known
      plan_.trials *= product_.extent(l);
      plan_.trial_strides.push_back(strides);
      plan_.trial_loops.push_back({product_.extent(l), nullptr});
    }
  }

  void train_trials() {
    std::vector<int64_t> strides(kOperands + 2 * product_.operands.size(), 0);
    std::copy(request_.trial_strides.begin(), request_.trial_strides.end(), strides.begin() + kOperands);
    plan_.trials = request_.trials;
    plan_.trial_strides.push_back(strides);
    plan_.trial_loops.push_back({request_.trials, nullptr});
  }

  bool sampled() const { return request_.nnz >= 0; }

  // Listed entries: the '...' axes stay dense and come first, then the entries.
  std::vector<int64_t> sampled_strides() {
    std::vector<int64_t> strides(product_.output.size(), 0);
    int64_t stride = request_.nnz;
    for (size_t at = product_.output.size(); at-- > 0;) {
      if (!product_.letters[product_.output[at]].ellipsis) continue;
      strides[at] = stride;
      stride *= product_.extent(product_.output[at]);
    }
    return strides;
  }

  int64_t cotangent_stride(int letter) const {
    if (request_.cotangent.shape.empty()) return 0;
    for (size_t axis = 0; axis < product_.output.size(); ++axis)
      if (product_.output[axis] == letter) return request_.cotangent.strides[axis];
    return 0;
  }

  // ---- where tensors lie ----

  Tensor tensor_of(Ref ref, const std::vector<int>& axes, const std::vector<int64_t>& strides) const {
    Tensor t{ref, {}, std::vector<int64_t>(product_.letters.size(), 0)};
    for (size_t i = 0; i < axes.size(); ++i) {
      if (product_.extent(axes[i]) == 1) continue;
      t.letters.set(axes[i]);
      t.strides[axes[i]] += strides[i];
    }
    return t;
  }

  int64_t elements(const LetterSet& letters) const {
    int64_t n = 1;
    for (size_t l = 0; l < product_.letters.size(); ++l)
      if (letters[l] && local_[l] && __builtin_mul_overflow(n, product_.extent(int(l)), &n))
        throw std::overflow_error("an intermediate of the product would have more than 2^63 elements");
    return n;
  }

  // A contiguous tensor with its letters outermost first; `elements` is how many it has.
  Tensor shaped(const std::vector<int>& layout, Ref ref, int64_t& elements) const {
    Tensor t{ref, {}, std::vector<int64_t>(product_.letters.size(), 0)};
    int64_t stride = 1;
    for (size_t i = layout.size(); i-- > 0;) {
      t.letters.set(layout[i]);
      t.strides[layout[i]] = stride;
      stride *= product_.extent(layout[i]);
    }
    elements = stride;
    return t;
  }

  Tensor make(const std::vector<int>& layout) {
    int64_t elements;
    Tensor t = shaped(layout, {kScratch, -1}, elements);
    t.ref.offset = arena_.add(elements);
    return t;
  }

  std::vector<int> layout_of(const Tensor& t) const {
    std::vector<int> layout;
    for (size_t l = 0; l < product_.letters.size(); ++l)
      if (t.letters[l] && local_[l]) layout.push_back(int(l));
    std::stable_sort(layout.begin(), layout.end(), [&](int x, int y) { return t.strides[x] > t.strides[y]; });
    return layout;
  }

  void place_leaves() {
    values_.resize(tree_.nodes.size());
    ready_.assign(tree_.nodes.size(), false);
    gradients_.resize(product_.operands.size());
  }

  // Decides where a node's value lies, from the tree and the operands' strides alone: forward and backward must agree.
  void place(int i) {
    const Node& node = tree_.nodes[i];
    if (node.operand >= 0) {
      const Operand& operand = product_.operands[node.operand];
      Tensor& t = values_[i];
      t = {{kOperands + node.operand, 0}, operand.letters & local_, operand.strides};
      for (size_t l = 0; l < t.strides.size(); ++l)
        if (!t.letters[l]) t.strides[l] = 0;
      if (is_half(request_.dtype)) t = widened_tensor(operand.axes, operand.shape);
      return;
    }
    if (i == tree_.root) return;
    const LetterSet letters = node.letters & local_;
    const Tensor& left = values_[node.left];
    std::vector<int> layout = choose_layout(product_, left, node.right >= 0 ? values_[node.right] : left, letters);
    if (tree_.sampled && tree_.is_pair(tree_.root) && is_root_side(i)) layout = contracted_last(layout);
    elements(letters);  // the size must fit before anything is laid out
    if (!saved_by_forward(i)) { values_[i] = make(layout); return; }
    int64_t n;
    values_[i] = shaped(layout, {kSaved, plan_.saved}, n);
    plan_.saved += (n + 15) / 16 * 16;
    ready_[i] = request_.stage == Stage::backward;
  }

  bool is_root_side(int i) const { return i == tree_.nodes[tree_.root].left || i == tree_.nodes[tree_.root].right; }

  // A side of a sampled root: one row for each coordinate, its contracted letters together at the end.
  std::vector<int> contracted_last(std::vector<int> layout) const {
    const LetterSet& output = tree_.nodes[tree_.root].letters;
    std::stable_sort(layout.begin(), layout.end(), [&](int x, int y) {
      return output[x] != output[y] ? output[x] : (!output[x] && x < y);
    });
    return layout;
  }

  bool saved_by_forward(int i) const {
    if (request_.stage != Stage::forward && request_.stage != Stage::backward && request_.stage != Stage::loss) return false;
    for (const Node& parent : tree_.nodes) {
      if (parent.right < 0) continue;
      if (parent.left == i && tree_.nodes[parent.right].wanted) return true;
      if (parent.right == i && tree_.nodes[parent.left].wanted) return true;
    }
    return false;
  }

  Tensor widened_tensor(const std::vector<int>& axes, const std::vector<int64_t>& shape) {
    std::vector<int64_t> inner = shape;
    for (size_t axis = 0; axis < axes.size(); ++axis)
      if (!local_[axes[axis]]) inner[axis] = 1;  // a trial axis is not part of one trial's copy
    Tensor t{{kScratch, -1}, {}, std::vector<int64_t>(product_.letters.size(), 0)};
    const auto strides = contiguous(inner);
    for (size_t axis = 0; axis < axes.size(); ++axis) {
      if (inner[axis] == 1) continue;
      t.letters.set(axes[axis]);
      t.strides[axes[axis]] += strides[axis];
    }
    t.ref.offset = arena_.add(checked_elements(inner));
    return t;
  }

  // ---- emitting steps ----

  Span pool(const std::vector<Loop>& loops) {
    const Span span{int32_t(plan_.loops.size()), int32_t(loops.size())};
    plan_.loops.insert(plan_.loops.end(), loops.begin(), loops.end());
    return span;
  }

  static Tensor one(const Product& product) { return {{kOne, 0}, {}, std::vector<int64_t>(product.letters.size(), 0)}; }

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

  std::vector<int64_t> local_contiguous(const std::vector<int>& axes, std::vector<int64_t> shape) const {
    for (size_t axis = 0; axis < axes.size(); ++axis)
      if (!local_[axes[axis]]) shape[axis] = 1;
    return contiguous(shape);
  }

  const Tensor& value(int i) {
    const Node& node = tree_.nodes[i];
    if (ready_[i]) return values_[i];
    ready_[i] = true;
    if (node.operand >= 0) {
      if (is_half(request_.dtype)) {
        const Operand& operand = product_.operands[node.operand];
        convert(Op::widen, {kOperands + node.operand, 0}, values_[i].ref, operand.axes, operand.shape,
                request_.operands[node.operand].strides, local_contiguous(operand.axes, operand.shape));
      }
      return values_[i];
    }
    const Tensor& left = value(node.left);
    contract(left, node.right >= 0 ? value(node.right) : one(product_), values_[i]);
    return values_[i];
  }

  // The two sides of the root; a sampled side whose contracted letters are not one contiguous run is copied into shape.
  Tensor side(int i) {
    const Tensor& t = value(i);
    if (!tree_.sampled || !tree_.is_pair(tree_.root)) return t;
    std::vector<int> layout = contracted_last(layout_of(t));
    int64_t stride = 1;
    bool fits = true;
    for (size_t at = layout.size(); at-- > 0 && !tree_.nodes[tree_.root].letters[layout[at]];) {
      fits = fits && t.strides[layout[at]] == stride;
      stride *= product_.extent(layout[at]);
    }
    if (fits) return t;
    Tensor& copy = copies_[i == tree_.nodes[tree_.root].right];
    if (copy.strides.empty()) {
      copy = make(layout);
      contract(t, one(product_), copy);
    }
    return copy;
  }

  void lower_values(bool root) {
    const Node& top = tree_.nodes[tree_.root];
    if (!root) {  // gradients: the sides are enough
      if (!tree_.is_pair(tree_.root)) return;
      if (tree_.nodes[top.right].wanted) value(top.left);
      if (tree_.nodes[top.left].wanted) value(top.right);
      return;
    }
    const bool inside = request_.stage == Stage::train || request_.stage == Stage::loss;
    if (tree_.sampled) {
      prediction_ = output_;
      if (request_.stage == Stage::train) prediction_.ref = {kScratch, arena_.add(request_.nnz)};
      const Tensor left = side(top.left), right = top.right >= 0 ? side(top.right) : one(product_);
      sampled_dot(left, right, prediction_);
      return;
    }
    const bool half = is_half(request_.dtype);
    prediction_ = output_;
    if (inside || half) {
      std::vector<int> layout;
      for (int l : product_.output)
        if (local_[l]) layout.push_back(l);
      prediction_ = make(layout);
    } else {
      prediction_.letters &= local_;
    }
    const Tensor left = value(top.left), right = top.right >= 0 ? value(top.right) : one(product_);
    contract(left, right, prediction_);
    if (half && !inside)
      convert(Op::narrow, prediction_.ref, {kOutput, 0}, product_.output, product_.output_shape(),
              local_contiguous(product_.output, product_.output_shape()), contiguous(product_.output_shape()));
  }

  // Columns of the coordinates, with their strides in two arrays; dense '...' letters become outer loops.
  void add_entry_loops(Step& step, const Tensor& first, const Tensor& second, const Tensor& entries, bool axpy) {
    std::vector<Loop> columns, outer, k;
    int64_t column = 0;
    step.work = request_.nnz;
    for (int l : product_.output) {
      const int64_t s = first.strides[l], t = second.strides[l];
      if (!product_.letters[l].ellipsis) {
        if (s || t) columns.push_back(axpy ? Loop{column, 0, s, t} : Loop{column, s, t, 0});
        ++column;
      } else if (local_[l]) {
        outer.push_back(axpy ? Loop{product_.extent(l), entries.strides[l], s, t} : Loop{product_.extent(l), s, t, entries.strides[l]});
        step.work *= product_.extent(l);
      }
    }
    const LetterSet& output = tree_.nodes[tree_.root].letters;
    for (size_t l = 0; l < product_.letters.size(); ++l) {
      if (output[l] || !local_[l] || !(first.letters[l] || second.letters[l])) continue;
      k.push_back(axpy ? Loop{product_.extent(int(l)), 0, first.strides[l], second.strides[l]}
                       : Loop{product_.extent(int(l)), first.strides[l], second.strides[l], 0});
      step.work *= product_.extent(int(l));
    }
    merge_loops(k);
    step.columns = pool(columns);
    step.outer = pool(outer);
    step.k = pool(k);
  }

  void sampled_dot(const Tensor& left, const Tensor& right, const Tensor& entries) {
    Step step{};
    step.op = Op::sampled_dot;
    step.a = left.ref;
    step.b = right.ref;
    step.c = entries.ref;
    add_entry_loops(step, left, right, entries, false);
    plan_.steps.push_back(step);
  }

  // into[at(n), k] = sum over n of g[n] * other[at(n), k], entries sorted by the columns that `into` has.
  void sampled_axpy(const Tensor& g, const Tensor& other, const Tensor& into) {
    std::vector<Loop> all;
    for (int l : layout_of(into)) all.push_back({product_.extent(l), 0, 0, into.strides[l]});
    fill(into.ref, all);
    std::vector<int> columns;
    int column = 0;
    for (int l : product_.output) {
      if (product_.letters[l].ellipsis) continue;
      if (into.letters[l] && into.strides[l]) columns.push_back(column);
      ++column;
    }
    Step step{};
    step.op = Op::sampled_axpy;
    step.a = g.ref;
    step.b = other.ref;
    step.c = into.ref;
    add_entry_loops(step, other, into, g, true);
    const auto found = std::find(plan_.orders.begin(), plan_.orders.end(), columns);
    step.order = int32_t(found - plan_.orders.begin());
    if (found == plan_.orders.end()) plan_.orders.push_back(columns);
    plan_.steps.push_back(step);
  }

  void lower_loss() {
    Step step{};
    step.op = Op::loss;
    step.a = step.c = prediction_.ref;
    step.count = sampled() ? request_.nnz : elements(prediction_.letters);
    step.b = {kScratch, arena_.add((step.count + 1023) / 1024 * 2)};
    plan_.steps.push_back(step);
  }

  // ---- down ----

  Tensor dense_cotangent() {
    Tensor t = sampled() ? output_ : tensor_of({kCotangent, 0}, product_.output, request_.cotangent.strides);
    t.ref = {kCotangent, 0};
    t.letters &= local_;
    if (!is_half(request_.dtype) || sampled()) return t;
    const auto shape = product_.output_shape();
    Tensor wide = widened_tensor(product_.output, shape);
    convert(Op::widen, {kCotangent, 0}, wide.ref, product_.output, shape, request_.cotangent.strides,
            local_contiguous(product_.output, shape));
    return wide;
  }

  // Where the cotangent of a node goes: the gradient itself for an operand, else an intermediate like the value.
  Tensor cotangent_of(int i) {
    const Node& node = tree_.nodes[i];
    if (node.operand < 0) return make(layout_of(values_[i]));
    const Operand& operand = product_.operands[node.operand];
    Tensor t;
    std::vector<int64_t> strides = contiguous(operand.shape);
    if (is_half(request_.dtype) || request_.stage == Stage::train) {
      t = widened_tensor(operand.axes, operand.shape);
      strides = local_contiguous(operand.axes, operand.shape);
      if (request_.stage == Stage::train) arena_.keep(t.ref.offset);
    } else {
      t = tensor_of({gradient_buffer(node.operand), 0}, operand.axes, strides);
      t.letters = values_[i].letters;
      for (size_t axis = 0; axis < operand.axes.size(); ++axis)  // an axis of extent 1 does not broadcast backwards
        if (operand.shape[axis] == 1 && !operand.letters[operand.axes[axis]]) t.strides[operand.axes[axis]] = 0;
    }
    if (operand.diagonal) {
      std::vector<Loop> loops;
      for (size_t axis = 0; axis < operand.axes.size(); ++axis)
        if (local_[operand.axes[axis]]) loops.push_back({operand.shape[axis], 0, 0, strides[axis]});
      fill(t.ref, loops);
    }
    gradients_[node.operand] = t;
    return t;
  }

  void finish_gradient(int i) {
    const Node& node = tree_.nodes[i];
    if (node.operand < 0 || !is_half(request_.dtype) || request_.stage == Stage::train) return;
    const Operand& operand = product_.operands[node.operand];
    convert(Op::narrow, gradients_[node.operand].ref, {gradient_buffer(node.operand), 0}, operand.axes, operand.shape,
            local_contiguous(operand.axes, operand.shape), contiguous(operand.shape));
  }

  void down(int i, const Tensor& cotangent) {
    const Node& node = tree_.nodes[i];
    if (node.operand >= 0 || !node.wanted) return;
    pass(node.left, cotangent, node.right >= 0 ? value(node.right) : one(product_));
    if (node.right >= 0) pass(node.right, cotangent, value(node.left));
  }

  void pass(int child, const Tensor& cotangent, const Tensor& sibling) {
    if (!tree_.nodes[child].wanted) return;
    const Tensor t = cotangent_of(child);
    contract(cotangent, sibling, t);
    finish_gradient(child);
    down(child, t);
  }

  void pass_sampled(int child, const Tensor& cotangent, const Tensor& sibling) {
    if (!tree_.nodes[child].wanted) return;
    const Tensor target = cotangent_of(child);
    // The rows written must have their contracted letters in one run; a gradient that does not is transposed after.
    std::vector<int> layout = layout_of(target);
    if (tree_.is_pair(tree_.root)) layout = contracted_last(layout);
    Tensor rows = target;
    int64_t n;
    const Tensor dense = shaped(layout, target.ref, n);
    const bool direct = dense.strides == target.strides && target.letters == dense.letters;
    if (!direct) rows = make(layout);
    sampled_axpy(cotangent, sibling, rows);
    if (!direct) contract(rows, one(product_), target);
    finish_gradient(child);
    down(child, target);
  }

  void lower_gradients(const Tensor& cotangent) {
    const Node& top = tree_.nodes[tree_.root];
    if (tree_.sampled) {
      const bool right_wanted = top.right >= 0 && tree_.nodes[top.right].wanted;
      if (tree_.nodes[top.left].wanted) pass_sampled(top.left, cotangent, top.right >= 0 ? side(top.right) : one(product_));
      if (right_wanted) pass_sampled(top.right, cotangent, side(top.left));
      return;
    }
    if (tree_.nodes[tree_.root].operand < 0) down(tree_.root, cotangent);
  }

  // Some extent is 0: sums over nothing.
  void fill_everything(bool root, bool down) {
    if (request_.stage == Stage::train) throw std::invalid_argument("a product with an extent of 0 has nothing to train");
    if (request_.stage == Stage::loss) {
      prediction_ = output_;
      fill(prediction_.ref, request_.nnz);
      lower_loss();
      plan_.scratch = arena_.resolve(plan_.steps);
      return;
    }
    if (root) fill({kOutput, 0}, checked_elements(plan_.output_shape));
    for (size_t i = 0; down && i < product_.operands.size(); ++i)
      if (plan_.wanted[i]) fill({gradient_buffer(i), 0}, checked_elements(product_.operands[i].shape));
    plan_.trial_loops.clear();
    plan_.trials = 1;
  }

  const PlanRequest& request_;
  Plan& plan_;
  const Product& product_;
  const Tree& tree_;
  LetterSet local_;  // letters that loop inside one trial
  Tensor output_, prediction_;
  std::vector<Tensor> values_, gradients_;
  Tensor copies_[2];  // sides of a sampled root, copied into shape
  std::vector<bool> ready_;
  Arena arena_;
};

}  // namespace

std::shared_ptr<const Plan> make_plan(const PlanRequest& request) {
  auto plan = std::make_shared<Plan>();
  plan->product = parse_product(request.equation, request.operands);
  plan->wanted = request.wanted;
  plan->stage = request.stage;
  plan->dtype = request.dtype;
  if (request.nnz >= 0) {
    for (int l : plan->product.output)
      if (plan->product.letters[l].ellipsis) plan->output_shape.push_back(plan->product.extent(l));
    plan->output_shape.push_back(request.nnz);
  } else {
    plan->output_shape = plan->product.output_shape();
  }
  plan->gather = request.nnz > 0 && request.stage != Stage::train && prefers_gather(plan->product, request.nnz);
  if (plan->gather) return plan;
  plan->tree = find_tree(plan->product, {request.wanted, request.nnz});
  Lowering(request, *plan).run();
  BlasStep blas;
  for (int i = 0; request.stage != Stage::train && i < int(plan->steps.size()); ++i)
    if (blas_fits(*plan, i, blas)) plan->blas.push_back(blas);
  for (size_t i = 0; i < plan->trial_loops.size(); ++i) {
    plan->trial_strides[i][kSaved] *= plan->saved;
    plan->trial_loops[i].strides = plan->trial_strides[i].data();
  }
  return plan;
}

Program Plan::program() const {
  return {dtype, int32_t(product.operands.size()), steps.data(), int32_t(steps.size()), loops.data(), trial_loops.data(),
          int32_t(trial_loops.size()), saved, scratch, work, tree.sampled};
}

}  // namespace irk
