// One arena for all intermediates of a trial: each has a place for as long as some step names it.
#pragma once
#include <algorithm>
#include <vector>

#include "plan/program.h"

namespace irk {

class Arena {
 public:
  // Registers an intermediate; until resolve() its Ref holds this number in place of an offset.
  int64_t add(int64_t elements) {
    blocks_.push_back({(std::max<int64_t>(elements, 1) + 15) / 16 * 16, -1, -1, false, 0});
    return int64_t(blocks_.size()) - 1;
  }
  void keep(int64_t block) { blocks_[size_t(block)].keep = true; }  // alive after the last step
  int64_t offset(int64_t block) const { return blocks_[size_t(block)].offset; }

  // Gives every intermediate its offset, writes the offsets and fences into the steps and returns the arena's size.
  int64_t resolve(std::vector<Step>& steps) {
    for (size_t s = 0; s < steps.size(); ++s)
      for (const Ref* ref : {&steps[s].a, &steps[s].b, &steps[s].c})
        if (used(steps[s], ref)) touch(blocks_[size_t(ref->offset)], int(s));
    for (Block& block : blocks_)
      if (block.keep) block.last = int(steps.size());
    std::vector<Block*> order;
    for (Block& block : blocks_)
      if (block.first >= 0) order.push_back(&block);
    std::stable_sort(order.begin(), order.end(), [](const Block* x, const Block* y) { return x->size > y->size; });
    int64_t total = 0;
    for (size_t i = 0; i < order.size(); ++i) {
      place(*order[i], order, i);
      total = std::max(total, order[i]->offset + order[i]->size);
    }
    set_fences(steps);
    for (Step& step : steps)
      for (Ref* ref : {&step.a, &step.b, &step.c})
        if (used(step, ref)) ref->offset = blocks_[size_t(ref->offset)].offset;
    return total;
  }

 private:
  struct Block {
    int64_t size;
    int first, last;  // steps
    bool keep;
    int64_t offset;
  };

  // What a step touches: a range of the scratch, or a whole buffer.
  struct Range {
    int buffer;
    int64_t begin, end;
    bool written;

    bool meets(const Range& other) const {
      return (written || other.written) && buffer == other.buffer && begin < other.end && other.begin < end;
    }
  };

  Range range(const Step& step, const Ref& ref) const {
    const bool written = &ref == &step.c || ((step.op == Op::loss || step.op == Op::normalize || step.op == Op::level) && &ref == &step.b);
    if (ref.buffer != kScratch) return {ref.buffer, 0, 1, written};
    const Block& block = blocks_[size_t(ref.offset)];
    return {kScratch, block.offset, block.offset + block.size, written};
  }

  // A team waits only where a step meets what its members have touched since they last did.
  void set_fences(std::vector<Step>& steps) const {
    std::vector<Range> since;
    for (Step& step : steps) {
      std::vector<Range> own;
      for (const Ref* ref : {&step.a, &step.b, &step.c})
        if (names(step, ref)) own.push_back(range(step, *ref));
      step.fence = std::any_of(own.begin(), own.end(), [&](const Range& mine) {
        return std::any_of(since.begin(), since.end(), [&](const Range& other) { return mine.meets(other); });
      });
      if (step.fence) since.clear();
      since.insert(since.end(), own.begin(), own.end());
    }
  }

  static bool names(const Step& step, const Ref* ref) {
    if (step.op == Op::fill) return ref == &step.c;
    if (step.op == Op::widen || step.op == Op::narrow) return ref != &step.b;
    return true;
  }
  static bool used(const Step& step, const Ref* ref) { return ref->buffer == kScratch && names(step, ref); }
  static void touch(Block& block, int step) {
    if (block.first < 0) block.first = step;
    block.last = step;
  }
  // The lowest gap among the blocks already placed that live at the same time.
  static void place(Block& block, const std::vector<Block*>& order, size_t placed) {
    std::vector<const Block*> alive;
    for (size_t i = 0; i < placed; ++i)
      if (order[i]->first <= block.last && block.first <= order[i]->last) alive.push_back(order[i]);
    std::sort(alive.begin(), alive.end(), [](const Block* x, const Block* y) { return x->offset < y->offset; });
    block.offset = 0;
    for (const Block* other : alive)
      if (block.offset + block.size > other->offset && other->offset + other->size > block.offset)
        block.offset = other->offset + other->size;
  }

  std::vector<Block> blocks_;
};

}  // namespace irk
