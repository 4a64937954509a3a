// The contraction tree: which two tensors meet, in which order. Chosen for value and gradients together.
#pragma once
#include <vector>

#include "plan/equation.h"

namespace irk {

struct Node {
  int left = -1, right = -1;  // both -1: an operand. right -1: `left` with letters summed out or axes reordered
  int operand = -1;
  LetterSet letters;          // letters of the result
  bool wanted = false;        // some operand below wants its gradient
  bool constant = false;      // all operands below are constants
};

struct Tree {
  std::vector<Node> nodes;    // children before parents
  int root = -1;              // its two sides make the output
  double work = 0;            // multiply-adds of the value of one trial
  double cost = 0;            // of the wanted sweeps, as plan/cost.h counts
  bool sampled = false;       // the root is evaluated at listed coordinates only

  bool is_operand(int node) const { return nodes[node].operand >= 0; }
  bool is_pair(int node) const { return nodes[node].right >= 0; }
};

struct TreeRequest {
  std::vector<bool> wanted;   // [operands]
  int64_t nnz = -1;           // listed coordinates, -1 for a dense output
  std::vector<bool> constant = {};  // [operands] in training: what such make together is made once; empty: none is
};

Tree find_tree(const Product& product, const TreeRequest& request);

// Constants that meet each other before any other operand: the largest subtrees of such, of more than a leaf.
std::vector<std::vector<int>> constant_groups(const Tree& tree);

}  // namespace irk
