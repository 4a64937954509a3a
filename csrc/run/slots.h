// A recording as a tape: what is needed, in the order recorded, cut into once, step and update, and a place for each
// number.
#pragma once
#include <algorithm>

#include "run/traced.h"

namespace irk {

struct TapeRoots {
  struct Move {
    int32_t leaf, value;  // what the leaf holds after the step
  };
  int32_t loss = 0, check = 0, alarm = 0;
  int32_t exit = 0;                // not a number where a step ends early
  std::vector<int32_t> gradients;  // those that the rule wants to see
  std::vector<int32_t> noted;
  std::vector<Move> extremes;      // made before anything is checked
  std::vector<Move> moves;
  bool training = true;            // there is something to check before the moves
};

class TapeBuilder {
 public:
  TapeBuilder(const Recording& recording, const TapeRoots& roots)
      : nodes_(recording.nodes()),
        roots_(roots),
        part_(nodes_.size(), kUnused),
        kept_(nodes_.size()),
        last_(nodes_.size(), 0),
        place_(nodes_.size(), -1) {
    tape_.leaves = recording.leaves();
    tape_.numbers = int32_t(tape_.leaves.size());
    for (size_t i = 0; i < nodes_.size(); ++i)
      if (nodes_[i].leaf) place_[i] = nodes_[i].place;
  }

  Tape tape() {
    for (const int32_t i : {roots_.loss, roots_.check, roots_.alarm, roots_.exit}) mark(i, kStep);
    for (const auto* some : {&roots_.gradients, &roots_.noted})
      for (const int32_t i : *some) mark(i, kStep);
    for (const auto& move : roots_.extremes) mark(move.value, kStep);
    for (const auto& move : roots_.moves) mark(move.value, kUpdate);
    order_ops();
    find_last_uses();
    place_ops();
    tape_.loss = place_[size_t(roots_.loss)];
    tape_.check = place_[size_t(roots_.check)];
    tape_.alarm = place_[size_t(roots_.alarm)];
    for (const int32_t i : roots_.gradients) tape_.gradients.push_back(place_[size_t(i)]);
    for (const int32_t i : roots_.noted) tape_.noted.push_back(place_[size_t(i)]);
    find_kept();
    tape_.step.shrink_to_fit();
    tape_.leaves.shrink_to_fit();
    return std::move(tape_);
  }

 private:
  enum Part : char { kUnused, kOnce, kStep, kUpdate };

  // What a number needs, in the earliest part that asks for it; an open list in place of recursion.
  void mark(int32_t root, Part part) {
    for (std::vector<int32_t> open{root}; !open.empty();) {
      const size_t i = size_t(open.back());
      open.pop_back();
      if (nodes_[i].leaf || part_[i] != kUnused) continue;
      part_[i] = nodes_[i].fixed ? kOnce : part;
      open.insert(open.end(), {nodes_[i].a, nodes_[i].b, nodes_[i].c});
    }
  }

  void order_ops() {
    for (const Part part : {kOnce, kStep, kUpdate})
      for (size_t i = 0; i < nodes_.size(); ++i)
        if (part_[i] == part) order_.push_back(int32_t(i));
  }

  void find_last_uses() {
    for (size_t at = 0; at < order_.size(); ++at)
      for (const int32_t input : inputs(order_[at])) last_[size_t(input)] = int32_t(at);
    for (const auto& move : roots_.extremes) target_[move.value] = move.leaf;
    for (const auto& move : roots_.moves)
      if (part_[size_t(move.value)] == kUpdate) target_.try_emplace(move.value, move.leaf);
    for (const auto* some : {&roots_.extremes, &roots_.moves})
      for (const auto& move : *some) kept_[size_t(move.value)] = true;
    for (const auto* some : {&roots_.gradients, &roots_.noted})
      for (const int32_t i : *some) kept_[size_t(i)] = true;
    for (const int32_t i : {roots_.loss, roots_.check, roots_.alarm}) kept_[size_t(i)] = true;
  }
  std::array<int32_t, 3> inputs(int32_t i) const {
    return {nodes_[size_t(i)].a, nodes_[size_t(i)].b, nodes_[size_t(i)].c};
  }

  void place_ops() {
    std::vector<int32_t> free;
    bool left = false;
    for (size_t at = 0; at < order_.size(); ++at) {
      const int32_t i = order_[at];
      const Part part = Part(part_[size_t(i)]);
      if (part == kUpdate && !left) leave(left);
      const auto in = inputs(i);
      for (size_t k = 0; k < in.size(); ++k)
        if (temporary(in[k]) && last_[size_t(in[k])] == int32_t(at) &&
            std::find(in.begin(), in.begin() + k, in[k]) == in.begin() + k)
          free.push_back(place_[size_t(in[k])]);
      const auto target = target_.find(i);
      if (target != target_.end() && last_[size_t(target->second)] <= int32_t(at)) {
        place_[size_t(i)] = place_[size_t(target->second)];  // made where it belongs: nobody reads the old number
      } else if (part == kOnce || kept(i) || free.empty()) {
        place_[size_t(i)] = tape_.numbers++;
      } else {
        place_[size_t(i)] = free.back();
        free.pop_back();
      }
      const auto& node = nodes_[size_t(i)];
      (part == kOnce ? tape_.once : tape_.step)
          .push_back(
              {node.op, place_[size_t(i)], place_[size_t(node.a)], place_[size_t(node.b)], place_[size_t(node.c)]});
    }
    if (!left && roots_.training) leave(left);
    copy(roots_.moves);
  }
  void leave(bool& left) {
    copy(roots_.extremes);
    tape_.step.push_back({Arith::leave, 0, place_[size_t(roots_.exit)], 0, 0});
    left = true;
  }
  // What was not made where it belongs.
  void copy(const std::vector<TapeRoots::Move>& moves) {
    for (const auto& move : moves)
      if (const int32_t from = place_[size_t(move.value)], to = place_[size_t(move.leaf)]; from != to)
        tape_.step.push_back({Arith::both, to, from, from, 0});
  }

  // Leaves, what is told, and what the update reads of the numbers made before it.
  void find_kept() {
    tape_.kept.assign(size_t(tape_.numbers), false);
    std::fill(tape_.kept.begin(), tape_.kept.begin() + int64_t(tape_.leaves.size()), true);
    for (const int32_t number : {tape_.loss, tape_.check, tape_.alarm}) tape_.kept[size_t(number)] = true;
    for (const auto* some : {&tape_.gradients, &tape_.noted})
      for (const int32_t number : *some) tape_.kept[size_t(number)] = true;
    std::vector<char> made(size_t(tape_.numbers));
    auto op =
        std::find_if(tape_.step.begin(), tape_.step.end(), [](const TapeOp& each) { return each.op == Arith::leave; });
    for (; op < tape_.step.end(); ++op) {
      for (const int32_t number : {op->a, op->b, op->c})
        if (!made[size_t(number)]) tape_.kept[size_t(number)] = true;
      made[size_t(op->d)] = makes(op->op);
    }
  }

  bool kept(int32_t i) const { return kept_[size_t(i)]; }
  bool temporary(int32_t i) const {
    return !nodes_[size_t(i)].leaf && (part_[size_t(i)] == kStep || part_[size_t(i)] == kUpdate) && !kept(i);
  }

  const std::vector<Recording::Node>& nodes_;
  const TapeRoots& roots_;
  std::vector<char> part_, kept_;
  std::vector<int32_t> last_, place_, order_;
  std::map<int32_t, int32_t> target_;  // the leaf that a number moves to
  Tape tape_;
};

}  // namespace irk
