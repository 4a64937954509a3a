// A tape's operations as instructions of Encoder: which number is in which vector register, and when.
// Some numbers keep a register for the whole loop; the others come and go, those needed latest first (Belady), each
// with its place in memory to go to.
#pragma once
#include <algorithm>
#include <limits>

#include "fast/encoder.h"
#include "plan/tape.h"

namespace irk {

struct TapeRange {
  const TapeOp *begin, *end;
  const std::vector<char>& kept;  // [numbers] has to be in memory when the range is left
  int32_t columns = 0;            // of notes, each time
};

class RegisterFile {
 public:
  RegisterFile(Encoder& out, const TapeRange& range, int registers, int32_t unit)
      : out_(out), range_(range), registers_(registers), unit_(unit), uses_(size_t(range.end - range.begin)),
        stored_(uses_.size()), at_(range.kept.size(), kNowhere), slots_(size_t(registers)) {
    find_uses();
    find_stored();
  }

  // for (rax = 0; rax < rsi; ++rax) the operations; what `leave` says ends it early.
  void loop() {
    pin();
    out_.clear_count();
    for (int r = 0; r < registers_; ++r)
      if (slots_[size_t(r)].pinned) out_.load(r, home(slots_[size_t(r)].number));
    const size_t skip = out_.begin_loop(), begin = out_.here();
    for (size_t i = 0; i < uses_.size(); ++i) run(range_.begin[i], uses_[i], stored_[i]);
    if (range_.columns) out_.next_note(range_.columns * unit_);
    out_.end_loop(begin);
    out_.patch_to(skip, out_.here());
    for (const size_t jump : exits_) out_.patch_to(jump, out_.here());
    for (int r = 0; r < registers_; ++r)
      if (slots_[size_t(r)].pinned && slots_[size_t(r)].dirty) out_.store(home(slots_[size_t(r)].number), r);
    out_.leave();
  }

 private:
  static constexpr int kNowhere = -1, kWorking = 10;
  static constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

  // When each number of an operation is read next: after the operation for d.
  struct Uses {
    int64_t d, a, b, c;
  };
  struct Slot {
    int32_t number = kNowhere;
    int64_t next = kNever;
    bool dirty = false, pinned = false, locked = false;
  };

  void find_uses() {
    std::vector<int64_t> next(at_.size(), kNever);
    for (size_t i = uses_.size(); i-- > 0;) {
      const TapeOp& op = range_.begin[i];
      const int n = inputs(op.op);
      Uses& uses = uses_[i];
      if (makes(op.op)) uses.d = std::exchange(next[size_t(op.d)], kNever);
      uses.a = next[size_t(op.a)];
      if (n > 1) uses.b = next[size_t(op.b)];
      if (n > 2) uses.c = next[size_t(op.c)];
      next[size_t(op.a)] = int64_t(i);
      if (n > 1) next[size_t(op.b)] = int64_t(i);
      if (n > 2) next[size_t(op.c)] = int64_t(i);
    }
  }

  // Results that have to be in memory: what a kept number holds last, before the end or a way out.
  void find_stored() {
    std::vector<char> needed = range_.kept;
    for (size_t i = uses_.size(); i-- > 0;) {
      const TapeOp& op = range_.begin[i];
      if (op.op == Arith::leave) needed = range_.kept;
      else if (makes(op.op)) stored_[i] = std::exchange(needed[size_t(op.d)], false);
    }
  }

  // Numbers that outlive a step keep a register where all of them can, else those read all the time.
  void pin() {
    std::vector<int64_t> reads(at_.size());
    std::vector<char> made(at_.size());
    for (const TapeOp* op = range_.begin; op < range_.end; ++op) {
      const int32_t in[] = {op->a, op->b, op->c};
      for (int k = 0; k < inputs(op->op); ++k)
        if (!made[size_t(in[k])]) ++reads[size_t(in[k])];  // of what it holds when a step begins
      if (makes(op->op)) made[size_t(op->d)] = true;
    }
    std::vector<int32_t> lasting;
    for (size_t n = 0; n < reads.size(); ++n)
      if (reads[n] > (made[n] ? 0 : 1)) lasting.push_back(int32_t(n));  // what is read once may as well lie in memory
    std::stable_sort(lasting.begin(), lasting.end(),
                     [&](int32_t x, int32_t y) { return reads[size_t(x)] > reads[size_t(y)]; });
    const size_t room = size_t(registers_ - kWorking);
    const bool all = lasting.size() <= room;
    for (size_t i = 0; i < std::min(lasting.size(), room); ++i) {
      if (!all && reads[size_t(lasting[i])] * 32 < int64_t(uses_.size())) break;
      const size_t r = i;
      slots_[r] = {lasting[i], 0, bool(made[size_t(lasting[i])]), true, false};
      at_[size_t(lasting[i])] = int(r);
    }
  }

  int32_t home(int32_t number) const { return number * unit_; }
  bool resident(int32_t number) const { return at_[size_t(number)] != kNowhere; }
  Location place(int32_t number) const {
    return resident(number) ? Location{false, at_[size_t(number)]} : Location{true, home(number)};
  }

  // A register to write, by eviction if need be: the one whose number is needed latest.
  int take() {
    int best = kNowhere;
    for (int r = 0; r < registers_; ++r) {
      const Slot& slot = slots_[size_t(r)];
      if (slot.pinned || slot.locked) continue;
      if (slot.number == kNowhere) return r;
      if (best == kNowhere || slot.next > slots_[size_t(best)].next) best = r;
    }
    evict(best);
    return best;
  }
  void evict(int r) {
    Slot& slot = slots_[size_t(r)];
    if (slot.dirty) out_.store(home(slot.number), r);
    release(r);
  }
  void release(int r) {
    Slot& slot = slots_[size_t(r)];
    if (slot.number != kNowhere) at_[size_t(slot.number)] = kNowhere;
    slot = {};
  }
  int load(int32_t number, int64_t next) {
    const int r = take();
    out_.load(r, home(number));
    slots_[size_t(r)] = {number, next, false, false, true};
    at_[size_t(number)] = r;
    return r;
  }

  // Whether a number that lies in memory is needed soon enough to be worth a register.
  bool worth(int64_t next) const {
    if (next == kNever) return false;
    return std::any_of(slots_.begin(), slots_.end(), [&](const Slot& s) {
      return !s.pinned && !s.locked && (s.number == kNowhere || s.next > next);
    });
  }
  // Brings an operand into a register if it is worth one or has to be in one; locks it there for this operation.
  void fetch(int32_t number, int64_t next, bool must = false) {
    if (!resident(number) && (must || worth(next))) load(number, next);
    if (!resident(number)) return;
    Slot& slot = slots_[size_t(at_[size_t(number)])];
    slot.locked = true;
    slot.next = next;
  }
  bool dies(int32_t number) const {
    return resident(number) && !slots_[size_t(at_[size_t(number)])].pinned &&
           slots_[size_t(at_[size_t(number)])].next == kNever;
  }

  void run(const TapeOp& op, const Uses& uses, bool stored) {
    if (!makes(op.op)) {
      fetch(op.a, uses.a, true);
      if (op.op == Arith::note) out_.note(op.c * unit_, at_[size_t(op.a)]);
      else exits_.push_back(out_.jump_if_nan(at_[size_t(op.a)]));
      return unlock();
    }
    const int n = inputs(op.op);
    const bool bits = op.op == Arith::both || op.op == Arith::either || op.op == Arith::without;
    fetch(op.a, uses.a, op.op != Arith::fma && n > 1);
    if (n > 1) fetch(op.b, uses.b, bits);
    if (n > 2) fetch(op.c, uses.c);
    const int d = op.op == Arith::fma ? fma(op, uses) : plain(op);
    finish(op, uses, stored, d);
  }

  // The register that the result of an operation of up to two numbers is in.
  int plain(const TapeOp& op) {
    const int n = inputs(op.op);
    const Location a = place(op.a), b = n > 1 ? place(op.b) : a;
    int d = kNowhere;
    if (resident(op.d) && slots_[size_t(at_[size_t(op.d)])].pinned) d = at_[size_t(op.d)];
    else if (dies(op.a)) d = a.at;
    else if (n > 1 && dies(op.b)) d = b.at;
    else d = take();
    switch (op.op) {
      case Arith::add: out_.add(d, a.at, b); break;
      case Arith::sub: out_.sub(d, a.at, b); break;
      case Arith::mul: out_.mul(d, a.at, b); break;
      case Arith::div: out_.div(d, a.at, b); break;
      case Arith::least: out_.least(d, a.at, b); break;
      case Arith::most: out_.most(d, a.at, b); break;
      case Arith::both: out_.both(d, a.at, b.at); break;
      case Arith::either: out_.either(d, a.at, b.at); break;
      case Arith::without: out_.without(d, a.at, b.at); break;
      case Arith::less: out_.compare(Encoder::kLess, d, a.at, b); break;
      case Arith::at_most: out_.compare(Encoder::kAtMost, d, a.at, b); break;
      case Arith::unlike: out_.compare(Encoder::kUnlike, d, a.at, b); break;
      case Arith::root: out_.root(d, a); break;
      default: break;
    }
    return d;
  }

  // a * b + c, over one of the three where it is needed no more or made anew, else over a copy of one.
  int fma(const TapeOp& op, const Uses& uses) {
    if (!resident(op.a) && !resident(op.b)) fetch(op.a, uses.a, true);
    if (dies(op.c) || (op.c == op.d && resident(op.c))) {
      Location a = place(op.a), b = place(op.b);
      if (a.memory) std::swap(a, b);
      out_.fma231(place(op.c).at, a.at, b);
      return place(op.c).at;
    }
    if (dies(op.a)) return over_factor(op.a, op.b, uses.b, op.c);
    if (dies(op.b)) return over_factor(op.b, op.a, uses.a, op.c);
    const int d = take();
    Location a = place(op.a), b = place(op.b);
    const Location c = place(op.c);
    if (a.memory) std::swap(a, b);
    if (c.memory) {
      out_.load(d, c.at);
      out_.fma231(d, a.at, b);
    } else if (b.memory) {
      out_.load(d, b.at);
      out_.fma132(d, c.at, a);
    } else {
      out_.copy(d, c.at);
      out_.fma231(d, a.at, b);
    }
    return d;
  }

  // x * y + c over x, which is needed no more.
  int over_factor(int32_t x, int32_t y, int64_t y_next, int32_t c) {
    const int d = at_[size_t(x)];
    if (!place(c).memory) {
      out_.fma132(d, place(c).at, place(y));
    } else {
      fetch(y, y_next, true);
      out_.fma213(d, place(y).at, place(c));
    }
    return d;
  }

  // Frees what is needed no more, books the result in its register, and in memory where it has to be there.
  void finish(const TapeOp& op, const Uses& uses, bool stored, int d) {
    unlock();
    if (resident(op.d)) {
      const int own = at_[size_t(op.d)];
      if (slots_[size_t(own)].pinned) {
        if (own != d) out_.copy(own, d);
        return;
      }
      if (own != d) release(own);  // the number before
    }
    if (stored) out_.store(home(op.d), d);
    release(d);
    if (uses.d == kNever) return;
    slots_[size_t(d)] = {op.d, uses.d, !stored, false, false};
    at_[size_t(op.d)] = d;
  }
  // After an operation: its numbers may go, and those that no other reads are gone.
  void unlock() {
    for (int r = 0; r < registers_; ++r) {
      Slot& slot = slots_[size_t(r)];
      if (slot.locked && !slot.pinned && slot.next == kNever) release(r);
      slot.locked = false;
    }
  }

  Encoder& out_;
  const TapeRange range_;
  const int registers_;
  const int32_t unit_;  // bytes of a number
  std::vector<Uses> uses_;    // [operations]
  std::vector<char> stored_;  // [operations]
  std::vector<int> at_;       // [numbers] the register
  std::vector<Slot> slots_;
  std::vector<size_t> exits_;
};

}  // namespace irk
