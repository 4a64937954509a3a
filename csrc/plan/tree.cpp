#include "plan/tree.h"

#include <algorithm>
#include <limits>

#include "plan/cost.h"
#include "plan/many.h"

namespace irk {
namespace {

constexpr size_t kExhaustive = 11;  // operands up to which every binary tree is searched (3^n pairs)
constexpr size_t kIntervals = 128;  // operands up to which the best tree over neighbours is searched (n^3 pairs)
constexpr double kTie = 1e-9;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

// A set of operands already contracted, as the search sees it.
struct Part {
  std::vector<int> operands;
  LetterSet letters;
  bool wanted = false;
  bool constant = true;
};

class Search {
 public:
  Search(const Product& product, const TreeRequest& request)
      : product_(product), request_(request), uses_(product.letters.size(), 0) {
    for (int letter : product.output) output_.set(letter);
    for (size_t l = 0; l < product.letters.size(); ++l) {
      if (product.letters[l].extent == 1) continue;
      // One trial's sizes decide: a trial alone and a trial among many must meet in the same order.
      extents_.push_back(product.letters[l].ellipsis ? 1 : double(product.letters[l].extent));
      live_.push_back(int(l));
    }
    for (const auto& operand : product.operands)
      for (size_t l = 0; l < product.letters.size(); ++l) uses_[l] += operand.letters[l];
  }

  Tree run() {
    find_order();
    return finish();
  }

 private:
  void find_order() {
    std::vector<int> leaves;
    const size_t n = product_.operands.size();
    for (size_t i = 0; i < n; ++i) leaves.push_back(add_leaf(i));
    if (n == 1) tree_.root = add_fold(leaves[0], output_);
    else if (!product_.path.empty()) follow(leaves);
    else if (n <= kExhaustive) exhaustive(leaves);
    else if (n <= kIntervals) intervals_or_greedy(leaves);
    else cheapest_of_many(leaves);
  }

  // The order that comes with the equation. A step of one tensor leaves it: what nobody else has is summed by now.
  void follow(std::vector<int> nodes) {
    for (const auto& step : product_.path) {
      std::vector<int> group;
      for (size_t position : step) group.push_back(nodes[position]);
      for (size_t i = step.size(); i-- > 0;) nodes.erase(nodes.begin() + long(step[i]));
      LetterSet needed = output_;
      for (int node : nodes) needed |= tree_.nodes[node].letters;
      nodes.push_back(meet(group, needed, nodes.empty()));
    }
    tree_.root = nodes[0];
  }

  // Three or more tensors that a path lets meet at once do so in their own cheapest order.
  int meet(const std::vector<int>& group, const LetterSet& needed, bool root) {
    if (group.size() == 1) return group[0];
    Product part;
    part.letters = product_.letters;
    TreeRequest request{{}, root ? request_.nnz : -1};
    LetterSet all;
    for (int node : group) {
      Operand operand;
      operand.letters = tree_.nodes[node].letters;
      all |= operand.letters;
      part.operands.push_back(operand);
      request.wanted.push_back(tree_.nodes[node].wanted);
    }
    for (int l : live_)
      if (all[l] && needed[l]) part.output.push_back(l);
    Search search(part, request);
    search.find_order();
    return graft(search.tree_, search.tree_.root, group);
  }

  int graft(const Tree& tree, int root, const std::vector<int>& operands) {
    std::vector<int> made;  // [nodes of the tree], children before parents
    for (const Node& node : tree.nodes) {
      const bool leaf = node.operand >= 0;
      made.push_back(leaf ? operands[node.operand] : add_pair(made[node.left], made[node.right], node.letters));
    }
    return made[root];
  }

  double size(const LetterSet& set) const {
    double s = 1;
    for (size_t i = 0; i < live_.size(); ++i)
      if (set[live_[i]]) s *= extents_[i];
    return s;
  }

  bool is_constant(size_t i) const { return !request_.constant.empty() && request_.constant[i]; }

  int add_fold(int child, const LetterSet& letters) {
    tree_.nodes.push_back({child, -1, -1, letters, tree_.nodes[child].wanted, tree_.nodes[child].constant});
    return int(tree_.nodes.size()) - 1;
  }

  // An operand, with the letters that nobody else has summed out at once.
  int add_leaf(size_t i) {
    const Operand& operand = product_.operands[i];
    tree_.nodes.push_back({-1, -1, int(i), operand.letters, bool(request_.wanted[i]), is_constant(i)});
    const int leaf = int(tree_.nodes.size()) - 1;
    LetterSet kept;
    for (int l : live_) kept.set(l, operand.letters[l] && (output_[l] || uses_[l] > 1));
    return kept == operand.letters || product_.operands.size() == 1 ? leaf : add_fold(leaf, kept);
  }

  LetterSet outside_letters(const std::vector<bool>& inside) const {
    LetterSet needed = output_;
    for (size_t i = 0; i < inside.size(); ++i)
      if (!inside[i]) needed |= product_.operands[i].letters;
    return needed;
  }

  // Multiply-adds of the value and of the gradients that pass through this meeting, and what its result costs to write.
  double pair_cost(const Part& a, const Part& b, const LetterSet& result, bool root) const {
    const LetterSet all = a.letters | b.letters;
    double sweeps = 1 + a.wanted + b.wanted;
    // What constants make is kept, so it may not be larger than they are.
    if (a.constant && b.constant && size(result) <= size(a.letters) + size(b.letters)) sweeps = kFoldedOnce;
    if (root && request_.nnz >= 0) {
      const double k = size(all.without(output_));
      return double(request_.nnz) * (kSampledEntry + kSampledWork * k) * sweeps;
    }
    return size(all) * sweeps + kWrite * size(result) * sweeps;
  }

  void exhaustive(const std::vector<int>& leaves) {
    const size_t n = leaves.size(), full = (size_t(1) << n) - 1;
    std::vector<Part> parts(full + 1);
    std::vector<double> best(full + 1, kInfinity);
    std::vector<size_t> split(full + 1, 0);
    for (size_t s = 1; s <= full; ++s) {
      std::vector<bool> inside(n);
      LetterSet letters;
      for (size_t i = 0; i < n; ++i) {
        inside[i] = s >> i & 1;
        if (!inside[i]) continue;
        letters |= product_.operands[i].letters;
        parts[s].wanted = parts[s].wanted || request_.wanted[i];
        parts[s].constant = parts[s].constant && is_constant(i);
      }
      parts[s].letters = letters & outside_letters(inside);
      if ((s & (s - 1)) == 0) { best[s] = 0; continue; }
      const size_t lowest = s & -s;
      for (size_t t = (s - 1) & s; t; t = (t - 1) & s) {
        if (!(t & lowest)) continue;  // each split once
        const double children = best[t] + best[s ^ t];
        if (children >= best[s]) continue;
        double cost = children + pair_cost(parts[t], parts[s ^ t], parts[s].letters, s == full);
        // Among equals, neighbours first: their letters lie side by side in the output, so that loops over them join.
        if (((s ^ t) & -(s ^ t)) < t) cost *= 1 + kTie;
        if (cost < best[s]) { best[s] = cost; split[s] = t; }
      }
    }
    tree_.root = build_subset(full, parts, split, leaves);
  }

  int build_subset(size_t s, const std::vector<Part>& parts, const std::vector<size_t>& split, const std::vector<int>& leaves) {
    if (!split[s]) return leaves[__builtin_ctzll(s)];
    const int left = build_subset(split[s], parts, split, leaves);
    const int right = build_subset(s ^ split[s], parts, split, leaves);
    return add_pair(left, right, parts[s].letters);
  }

  int add_pair(int left, int right, const LetterSet& letters) {
    const Node &a = tree_.nodes[left], &b = tree_.nodes[right];
    tree_.nodes.push_back({left, right, -1, letters, a.wanted || b.wanted, a.constant && b.constant});
    return int(tree_.nodes.size()) - 1;
  }

  // Very many operands: the cheapest of a few orders.
  void cheapest_of_many(const std::vector<int>& leaves) {
    std::vector<LetterSet> letters;
    for (int leaf : leaves) letters.push_back(tree_.nodes[leaf].letters);
    const Tree start = tree_;
    Tree best;
    double least = kInfinity;
    for (const Meetings& meetings : orders_of_many(letters, output_, live_, extents_)) {
      tree_ = start;
      follow_meetings(leaves, meetings);
      const double spent = cost(tree_, request_);
      if (best.root < 0 || spent < least) { best = tree_; least = spent; }
    }
    tree_ = best;
  }

  void follow_meetings(std::vector<int> nodes, const Meetings& meetings) {
    std::vector<int> left(product_.letters.size(), 0);
    for (int node : nodes)
      for (int l : live_) left[l] += tree_.nodes[node].letters[l];
    for (const auto& [a, b] : meetings) {
      const LetterSet &x = tree_.nodes[nodes[a]].letters, &y = tree_.nodes[nodes[b]].letters;
      LetterSet letters = x | y;
      for (int l : live_) {
        if (!letters[l]) continue;
        left[l] -= x[l] + y[l];
        if (left[l] || output_[l]) ++left[l];
        else letters.reset(l);
      }
      nodes.push_back(add_pair(nodes[a], nodes[b], letters));
    }
    tree_.root = nodes.back();
  }

  // Many operands: the best tree over neighbours in the given order (optimal for chains and trains), or a greedy one.
  void intervals_or_greedy(const std::vector<int>& leaves) {
    const Tree start = tree_;
    const double by_intervals = intervals(leaves);
    const Tree interval_tree = tree_;
    tree_ = start;
    const double by_greed = greedy(leaves);
    if (by_intervals <= by_greed) tree_ = interval_tree;
  }

  double intervals(const std::vector<int>& leaves) {
    const size_t n = leaves.size();
    std::vector<std::vector<Part>> part(n, std::vector<Part>(n));
    std::vector<std::vector<double>> best(n, std::vector<double>(n, 0));
    std::vector<std::vector<size_t>> split(n, std::vector<size_t>(n, 0));
    for (size_t length = 1; length <= n; ++length)
      for (size_t i = 0, j = length - 1; j < n; ++i, ++j) {
        std::vector<bool> inside(n);
        LetterSet letters;
        for (size_t o = i; o <= j; ++o) {
          inside[o] = true;
          letters |= product_.operands[o].letters;
          part[i][j].wanted = part[i][j].wanted || request_.wanted[o];
          part[i][j].constant = part[i][j].constant && is_constant(o);
        }
        part[i][j].letters = letters & outside_letters(inside);
        if (length == 1) continue;
        best[i][j] = kInfinity;
        for (size_t m = i; m < j; ++m) {
          const double cost = best[i][m] + best[m + 1][j] + pair_cost(part[i][m], part[m + 1][j], part[i][j].letters, length == n);
          if (cost < best[i][j]) { best[i][j] = cost; split[i][j] = m; }
        }
      }
    tree_.root = build_interval(0, n - 1, part, split, leaves);
    return best[0][n - 1];
  }

  int build_interval(size_t i, size_t j, const std::vector<std::vector<Part>>& part,
                     const std::vector<std::vector<size_t>>& split, const std::vector<int>& leaves) {
    if (i == j) return leaves[i];
    const int left = build_interval(i, split[i][j], part, split, leaves);
    const int right = build_interval(split[i][j] + 1, j, part, split, leaves);
    return add_pair(left, right, part[i][j].letters);
  }

  double greedy(const std::vector<int>& leaves) {
    const size_t n = leaves.size();
    std::vector<Part> parts(n);
    std::vector<int> node = leaves;
    std::vector<int> uses = std::vector<int>(product_.letters.size(), 0);
    for (size_t i = 0; i < n; ++i) {
      parts[i] = {{int(i)}, tree_.nodes[leaves[i]].letters, bool(request_.wanted[i]), is_constant(i)};
      for (int l : live_) uses[l] += parts[i].letters[l];
    }
    double total = 0;
    while (parts.size() > 1) {
      double best_score = kInfinity;
      size_t bi = 0, bj = 1;
      LetterSet best_result;
      for (size_t i = 0; i < parts.size(); ++i)
        for (size_t j = i + 1; j < parts.size(); ++j) {
          const LetterSet both = parts[i].letters & parts[j].letters;
          if (both.none() && best_score < kInfinity) continue;  // outer products only when nothing else is left
          LetterSet result = parts[i].letters | parts[j].letters;
          for (int l : live_)
            if (result[l] && !output_[l] && uses[l] == parts[i].letters[l] + parts[j].letters[l]) result.reset(l);
          const double score = size(result) - size(parts[i].letters) - size(parts[j].letters);
          if (score < best_score || (both.any() && (parts[bi].letters & parts[bj].letters).none())) {
            best_score = score; bi = i; bj = j; best_result = result;
          }
        }
      total += pair_cost(parts[bi], parts[bj], best_result, parts.size() == 2);
      for (int l : live_) uses[l] += int(best_result[l]) - parts[bi].letters[l] - parts[bj].letters[l];
      node[bi] = add_pair(node[bi], node[bj], best_result);
      parts[bi] = {{}, best_result, parts[bi].wanted || parts[bj].wanted, parts[bi].constant && parts[bj].constant};
      parts.erase(parts.begin() + long(bj));
      node.erase(node.begin() + long(bj));
    }
    tree_.root = node[0];
    return total;
  }

  // One answer for every subset of wanted gradients, as their bits may not differ: that for all of them.
  bool reads_dense(const Tree& whole, const TreeRequest& dense) const {
    const size_t n = product_.operands.size(), wanted = size_t(std::count(request_.wanted.begin(), request_.wanted.end(), true));
    if (wanted < n || !request_.constant.empty()) {
      const Tree tree = find_tree(product_, {std::vector<bool>(n, true), request_.nnz});
      return !tree.is_pair(tree.root);
    }
    return cost(whole, dense) + 2 * double(request_.nnz) * kRead < cost(tree_, request_);
  }

  // A sampled product whose dense form is cheaper is formed whole and read at the coordinates.
  Tree finish() {
    Node& root = tree_.nodes[tree_.root];
    root.letters = output_;
    for (size_t l = 0; l < product_.letters.size(); ++l)
      if (product_.letters[l].extent == 1) root.letters.reset(l);
    tree_.sampled = request_.nnz >= 0;
    if (tree_.sampled && tree_.is_pair(tree_.root)) {
      TreeRequest dense = request_;
      dense.nnz = -1;
      Tree whole = find_tree(product_, dense);
      if (reads_dense(whole, dense)) {
        tree_ = whole;
        tree_.sampled = true;
        const LetterSet letters = tree_.nodes[tree_.root].letters;
        tree_.root = add_fold(tree_.root, letters);
      }
    }
    tree_.cost = cost(tree_, request_);
    for (size_t i = 0; i < tree_.nodes.size(); ++i) tree_.work += int(i) == tree_.root && tree_.sampled ? 0 : node_work(i);
    return tree_;
  }

  double node_work(size_t i) const {
    const Node& node = tree_.nodes[i];
    if (node.operand >= 0) return 0;
    LetterSet all = tree_.nodes[node.left].letters;
    if (node.right >= 0) all |= tree_.nodes[node.right].letters;
    double work = 1;
    for (int l : live_)
      if (all[l]) work *= double(product_.letters[l].extent);
    return work;
  }

  double cost(const Tree& tree, const TreeRequest& request) const {
    double total = 0;
    const Search search(product_, request);
    for (size_t i = 0; i < tree.nodes.size(); ++i) {
      const Node& node = tree.nodes[i];
      if (node.right < 0) continue;
      const Node &a = tree.nodes[node.left], &b = tree.nodes[node.right];
      total += search.pair_cost({{}, a.letters, a.wanted, a.constant}, {{}, b.letters, b.wanted, b.constant}, node.letters, int(i) == tree.root);
    }
    return total;
  }

  const Product& product_;
  const TreeRequest& request_;
  LetterSet output_;
  std::vector<int> live_;        // letters with an extent other than 1
  std::vector<double> extents_;  // of the live letters, as the cost sees them
  std::vector<int> uses_;        // operands that vary along each letter
  Tree tree_;
};

}  // namespace

std::vector<std::vector<int>> constant_groups(const Tree& tree) {
  std::vector<std::vector<int>> groups;
  std::vector<int> open{tree.root};
  while (!open.empty()) {
    const Node& node = tree.nodes[size_t(open.back())];
    open.pop_back();
    if (node.operand >= 0) continue;
    if (!node.constant) {
      open.push_back(node.left);
      if (node.right >= 0) open.push_back(node.right);
      continue;
    }
    std::vector<int> group, below{node.left, node.right};
    while (!below.empty()) {
      const int i = below.back();
      below.pop_back();
      if (i < 0) continue;
      if (tree.nodes[size_t(i)].operand >= 0) group.push_back(tree.nodes[size_t(i)].operand);
      below.push_back(tree.nodes[size_t(i)].left);
      below.push_back(tree.nodes[size_t(i)].right);
    }
    std::sort(group.begin(), group.end());
    groups.push_back(group);
  }
  return groups;
}

Tree find_tree(const Product& product, const TreeRequest& request) { return Search(product, request).run(); }

}  // namespace irk
