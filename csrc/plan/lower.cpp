// Tree -> steps: up the tree for values, down it for gradients, two contractions a node.
#include "plan/blas.h"
#include "plan/gathered.h"

namespace irk {
namespace {

class Lowering : public GatheredEmission {
 public:
  Lowering(const PlanRequest& request, Plan& plan) : GatheredEmission(request, plan), gradients_(plan.product.operands.size()) {}

  void run() {
    const Stage stage = request_.stage;
    const bool up = stage != Stage::backward;
    const bool down = stage == Stage::backward || stage == Stage::gradients || trains(stage);
    const bool root = stage != Stage::backward && stage != Stage::gradients && stage != Stage::penalty;
    if (product_.empty) return fill_everything(root, down);
    if (plan_.gather) {
      lower_gathered(root, down);
    } else if (exponents_only()) {
      lower_exponent();
    } else {
      if (up) lower_values(root);
      Tensor cotangent = root ? prediction_ : dense_cotangent();
      if (stage == Stage::loss || stage == Stage::train) lower_loss();
      if (down) lower_gradients(cotangent);
    }
    plan_.scratch = arena_.resolve(plan_.steps);
    if (plan_.gather) resolve_rows();
    if (trains(stage))
      for (size_t i = 0; i < product_.operands.size(); ++i)
        plan_.gradient_offsets.push_back(plan_.wanted[i] ? arena_.offset(gradients_[i].ref.offset) : -1);
    for (const Step& step : plan_.steps)
      if (__builtin_add_overflow(plan_.work, step.work, &plan_.work)) throw std::overflow_error("the product would have more than 2^63 multiply-adds");
  }

 private:
  // Listed entries from rows of the operands: every node of the tree is an operand.
  void lower_gathered(bool root, bool down) {
    for (size_t i = 0; i < values_.size(); ++i) {
      const Tensor& t = value(int(i));
      if (t.ref.buffer == kScratch) arena_.keep(t.ref.offset);
      if (!down || !plan_.wanted[i]) continue;
      cotangent_of(int(i));
      fill_rows(gradients_[i]);
    }
    const Ref workspace{kScratch, arena_.add(describe_rows(gradients_, root, down))};
    prediction_ = output_;
    if (request_.stage == Stage::train) prediction_.ref = {kScratch, arena_.add(request_.nnz)};
    if (root) rows_step(Op::rows_value, {kOne, 0}, workspace, prediction_.ref);
    if (request_.stage == Stage::loss || request_.stage == Stage::train) lower_loss();
    if (!down) return;
    rows_step(Op::rows_pull, root ? prediction_.ref : Ref{kCotangent, 0}, workspace, workspace);
    for (size_t i = 0; i < values_.size(); ++i)
      if (plan_.wanted[i]) finish_gradient(int(i));
  }

  // A node's value, made after those below it. Open nodes stand in a list: a tree may be as deep as it has operands.
  const Tensor& value(int i) {
    for (std::vector<int> open{i}; !open.empty();) {
      const int n = open.back();
      const Node& node = tree_.nodes[n];
      if (!ready_[n] && node.operand < 0) {
        if (!ready_[node.left]) { open.push_back(node.left); continue; }
        if (node.right >= 0 && !ready_[node.right]) { open.push_back(node.right); continue; }
      }
      open.pop_back();
      if (!ready_[n]) make_value(n);
    }
    return values_[i];
  }

  void make_value(int i) {
    const Node& node = tree_.nodes[i];
    ready_[i] = true;
    if (node.operand < 0) {
      contract(values_[node.left], node.right >= 0 ? values_[node.right] : one(product_), values_[i]);
      settle(values_[i], exponents_[i], exponents_[node.left], node.right >= 0 ? exponents_[node.right] : Exponent{});
      return;
    }
    if (!is_half(request_.dtype)) return;
    const Operand& operand = product_.operands[node.operand];
    convert(Op::widen, {kOperands + node.operand, 0}, values_[i].ref, operand.axes, operand.shape,
            request_.operands[node.operand].strides, local_contiguous(operand.axes, operand.shape));
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
      copy = make(layout, true);
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
      const Tensor left = raised(side(top.left), true), right = top.right >= 0 ? side(top.right) : one(product_);
      if (request_.stage != Stage::train) return sampled_dot(left, right, prediction_, -1);
      begin_pulls();
      // An order that some gradient sorts by anyway.
      if (tree_.nodes[top.left].wanted) sampled_dot(left, right, prediction_, order_by(left));
      else sampled_dot(right, left, prediction_, order_by(right));
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
    const Tensor left = raised(value(top.left), false), right = top.right >= 0 ? value(top.right) : one(product_);
    contract(left, right, prediction_);
    if (half && !inside)
      convert(Op::narrow, prediction_.ref, {kOutput, 0}, product_.output, product_.output_shape(),
              local_contiguous(product_.output, product_.output_shape()), contiguous(product_.output_shape()));
  }

  // The left side of the root times the powers of two of both sides.
  Tensor raised(const Tensor& left, bool side) {
    const Node& top = tree_.nodes[tree_.root];
    if (top.right >= 0) value(top.right);
    Tensor exponent;
    if (!joined(exponents_[top.left], top.right >= 0 ? exponents_[top.right] : Exponent{}, exponent)) return left;
    const Tensor to = make(layout_of(left), side);
    scale(left, exponent, to);
    return to;
  }

  void lower_exponent() {
    const Node& top = tree_.nodes[tree_.root];
    const bool pair = top.right >= 0;
    emit_exponent(value(top.left), exponents_[top.left], pair ? value(top.right) : one(product_), pair ? exponents_[top.right] : Exponent{});
  }

  // What a cotangent carries, made of those of what was multiplied; an operand's gradient is brought to its true size.
  Exponent settled_cotangent(int i, const Tensor& t, const Exponent& a, const Exponent& b) {
    if (tree_.nodes[i].operand < 0) {
      Exponent made = exponent_like(t, a, b);
      if (made.held) made.tensor.ref.offset = arena_.add(elements(common_));
      settle(t, made, a, b);
      return made;
    }
    Tensor exponent;
    if (joined(a, b, exponent)) scale(t, exponent, t);
    finish_gradient(i);
    return {};
  }

  void lower_loss() {
    Step step{};
    step.op = Op::loss;
    step.a = step.c = prediction_.ref;
    step.count = sampled() ? request_.nnz : elements(prediction_.letters);
    step.b = {kScratch, arena_.add((step.count + kReduction - 1) / kReduction * kTurns * 2)};
    plan_.steps.push_back(step);
  }

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
    if (node.operand < 0) return make(layout_of(cotangents_[i]));
    const Operand& operand = product_.operands[node.operand];
    Tensor t;
    std::vector<int64_t> strides = contiguous(operand.shape);
    if (is_half(request_.dtype) || trains(request_.stage)) {
      t = widened_tensor(operand.axes, operand.shape);
      strides = local_contiguous(operand.axes, operand.shape);
      if (trains(request_.stage)) arena_.keep(t.ref.offset);
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
    if (node.operand < 0 || !is_half(request_.dtype) || trains(request_.stage)) return;
    const Operand& operand = product_.operands[node.operand];
    convert(Op::narrow, gradients_[node.operand].ref, {gradient_buffer(node.operand), 0}, operand.axes, operand.shape,
            local_contiguous(operand.axes, operand.shape), contiguous(operand.shape));
  }

  // Cotangents of all nodes below `top`, left before right; as for values, a list of open ones in place of recursion.
  void down(int top, const Tensor& cotangent, const Exponent& exponent) {
    struct Pass {
      int child, sibling;
      Tensor cotangent;  // of their parent
      Exponent exponent;
    };
    std::vector<Pass> open;
    const auto descend = [&](int i, const Tensor& t, const Exponent& e) {
      const Node& node = tree_.nodes[i];
      if (node.operand >= 0) return;
      if (node.right >= 0 && tree_.nodes[node.right].wanted) open.push_back({node.right, node.left, t, e});
      if (tree_.nodes[node.left].wanted) open.push_back({node.left, node.right, t, e});
    };
    for (descend(top, cotangent, exponent); !open.empty();) {
      const Pass next = std::move(open.back());
      open.pop_back();
      const Tensor sibling = next.sibling >= 0 ? value(next.sibling) : one(product_), t = cotangent_of(next.child);
      const Exponent of_sibling = next.sibling >= 0 ? exponents_[next.sibling] : Exponent{};
      if (next.exponent.held && common_.without(values_[next.child].letters).any()) {  // summed over what it varies along
        const Tensor true_size = make(layout_of(next.cotangent));
        scale(next.cotangent, next.exponent.tensor, true_size);
        contract(true_size, sibling, t);
        descend(next.child, t, settled_cotangent(next.child, t, Exponent{}, of_sibling));
        continue;
      }
      contract(next.cotangent, sibling, t);
      descend(next.child, t, settled_cotangent(next.child, t, next.exponent, of_sibling));
    }
  }

  // The cotangent of one side of a sampled root: rows that its entries add to, filled with zeros.
  struct Pull {
    Tensor target, rows;  // a target whose contracted letters are not one run is transposed from rows that have them so
    bool direct = true;
  };

  Pull begin_pull(int child) {
    Pull pull;
    pull.rows = pull.target = cotangent_of(child);
    std::vector<int> layout = layout_of(pull.target);
    if (tree_.is_pair(tree_.root)) layout = contracted_last(layout);
    int64_t n;
    const Tensor dense = shaped(layout, pull.target.ref, n);
    pull.direct = dense.strides == pull.target.strides && pull.target.letters == dense.letters;
    if (!pull.direct) pull.rows = make(layout);
    fill_rows_without_entries(pull.rows);
    return pull;
  }

  void end_pull(int child, int sibling, const Pull& pull) {
    if (!pull.direct) contract(pull.rows, one(product_), pull.target);
    const Exponent of_sibling = sibling >= 0 ? exponents_[sibling] : Exponent{};
    down(child, pull.target, settled_cotangent(child, pull.target, Exponent{}, of_sibling));
  }

  // Of both sides, before the entries are read: filling and adding are shared differently among a team.
  void begin_pulls() {
    const Node& top = tree_.nodes[tree_.root];
    if (tree_.nodes[top.left].wanted) left_ = begin_pull(top.left);
    if (top.right >= 0 && tree_.nodes[top.right].wanted) right_ = begin_pull(top.right);
  }

  void pull_sampled(const Tensor& cotangent) {
    const Node& top = tree_.nodes[tree_.root];
    const bool left = tree_.nodes[top.left].wanted, right = top.right >= 0 && tree_.nodes[top.right].wanted;
    if (left) sampled_axpy(cotangent, top.right >= 0 ? side(top.right) : one(product_), left_.rows);
    if (right) sampled_axpy(cotangent, side(top.left), right_.rows);
    if (left) end_pull(top.left, top.right, left_);
    if (right) end_pull(top.right, top.left, right_);
  }

  void lower_gradients(const Tensor& cotangent) {
    if (tree_.sampled) {
      if (request_.stage != Stage::train) begin_pulls();
      return pull_sampled(cotangent);
    }
    if (tree_.nodes[tree_.root].operand < 0) down(tree_.root, cotangent, Exponent{});
  }

  // Some extent is 0: sums over nothing.
  void fill_everything(bool root, bool down) {
    if (trains(request_.stage)) throw std::invalid_argument("a product with an extent of 0 has nothing to train");
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

  Tensor prediction_;
  std::vector<Tensor> gradients_;  // [operands]
  Tensor copies_[2];               // sides of a sampled root, copied into shape
  Pull left_, right_;              // their cotangents
};

}  // namespace

namespace {

// Every operand by itself: gathered rows have a tree of their own.
Tree leaves_of(const Product& product, const std::vector<bool>& wanted) {
  Tree tree;
  for (size_t i = 0; i < product.operands.size(); ++i) tree.nodes.push_back({-1, -1, int(i), product.operands[i].letters, wanted[i]});
  tree.root = 0;
  tree.sampled = true;
  return tree;
}

}  // namespace

std::shared_ptr<const Plan> make_plan(const PlanRequest& request) {
  return make_plan(request, parse_product(request.equation, request.operands));
}

std::shared_ptr<const Plan> make_plan(const PlanRequest& request, const Product& product) {
  if (request.operands.size() > size_t(kMaxOperands))
    throw std::invalid_argument("a product has at most " + std::to_string(kMaxOperands) + " operands, got " + std::to_string(request.operands.size()));
  auto plan = std::make_shared<Plan>();
  plan->product = product;
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
  checked_elements(plan->output_shape);
  if (trains(request.stage) && is_half(request.dtype))
    throw std::invalid_argument("native training takes float32 and float64 factors");
  const bool each = request.stage == Stage::exponent && !plan->product.empty;  // every entry has an exponent of its own
  plan->gather = request.nnz > 0 && (each || prefers_gather(plan->product, request.nnz));
  plan->tree = plan->gather ? leaves_of(plan->product, request.wanted)
                            : find_tree(plan->product, {request.wanted, request.nnz, request.constant});
  Lowering(request, *plan).run();
  checked_times(plan->work, plan->trials, "multiply-adds");
  constexpr int64_t kWidest = sizeof(double);
  checked_times(plan->scratch, kWidest, "bytes of workspace");
  checked_times(checked_times(plan->saved, kWidest, "bytes to keep"), plan->trials, "bytes to keep");
  for (size_t i = 0; i < plan->trial_loops.size(); ++i) {
    plan->trial_strides[i][kSaved] *= plan->saved;
    plan->trial_loops[i].strides = plan->trial_strides[i].data();
  }
  if (!trains(request.stage)) choose_blas(*plan);
  return plan;
}

Program Plan::program() const {
  return {dtype, int32_t(product.operands.size()), steps.data(), int32_t(steps.size()), loops.data(), trial_loops.data(),
          int32_t(trial_loops.size()), saved, scratch, work, tree.sampled, gather ? &blocks.gathered : nullptr};
}

}  // namespace irk
