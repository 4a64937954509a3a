// A plan in words: what is formed, in which order, what it costs, where the bytes go.
#include <sstream>

#include "plan/plan.h"

namespace irk {
namespace {

const char* name(Op op) {
  switch (op) {
    case Op::contract: return "contract";
    case Op::dot: return "dot";
    case Op::widen: return "widen";
    case Op::narrow: return "narrow";
    case Op::fill: return "fill";
    case Op::sampled_dot: return "sampled dot";
    case Op::sampled_axpy: return "sampled axpy";
    case Op::loss: return "loss";
    case Op::rows_value: return "product of rows";
    case Op::rows_pull: return "gradients of rows";
    case Op::exponents: return "exponents";
    case Op::normalize: return "normalize";
    case Op::level: return "level";
    case Op::scale: return "scale";
  }
  return "?";
}

std::string describe(const Plan& plan, int i) {
  const Node& node = plan.tree.nodes[size_t(i)];
  if (node.operand >= 0) return "operand " + std::to_string(node.operand);
  return "[" + plan.product.term(node.letters) + "]";
}

std::string form(const Step& step) {
  std::ostringstream s;
  if (step.op != Op::contract) return "";
  s << "  rows " << step.row.extent << " x lanes " << step.lane.extent << (step.lane.a ? " (batch in lanes" : " (columns in lanes")
    << (step.lane.b != 1 ? ", packed)" : ")");
  return s.str();
}

}  // namespace

std::string Plan::explain() const {
  std::ostringstream s;
  const int64_t bytes = dtype == Dtype::f64 ? 8 : 4;
  for (size_t i = 0; i < tree.nodes.size(); ++i) {
    const Node& node = tree.nodes[i];
    if (node.operand >= 0) continue;
    s << "  " << describe(*this, int(i)) << " = " << describe(*this, node.left);
    if (node.right >= 0) s << " x " << describe(*this, node.right);
    if (int(i) == tree.root) s << (tree.sampled ? "   (root, read at the listed coordinates)" : "   (root)");
    s << "\n";
  }
  if (gather) {
    const int64_t n = blocks.gathered.block;
    if (blocks.gathered.padded)
      s << "rows alike, multiplied element by element, " << n << " entries a block, " << blocks.gathered.slots << " side by side at most\n";
    for (const auto& block : {blocks.value[0], blocks.pull[0]})
      if (block) s << "rows of a block of " << n << " entries, " << blocks.gathered.slots << " side by side at most\n" << block->explain();
  }
  s << "steps of one trial\n";
  for (const Step& step : steps) {
    s << "  " << name(step.op);
    if (step.work) s << "  " << step.work << " multiply-adds";
    if (step.count) s << "  " << step.count << " elements";
    s << form(step) << "\n";
  }
  s << "trials " << trials << ", multiply-adds a trial " << work << ", kept for backward " << saved * bytes * trials
    << " bytes, workspace " << scratch * bytes << " bytes a thread\n";
  return s.str();
}

}  // namespace irk
