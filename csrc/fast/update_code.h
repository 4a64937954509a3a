// What a step does with its gradients, as machine code: are all of them finite, and one update of every factor by
// steps/update.h, with the same bits. Of a member of a team: of its share.
#pragma once
#include <algorithm>

#include "fast/blocks.h"
#include "fast/code_arrays.h"
#include "steps/gradients.h"
#include "steps/update.h"

namespace irk {

// f(lanes, bytes from where the arrays begin) for every pack of n numbers: in a loop, which moves the arrays on, while
// there are many.
template <class F>
void each_code_pack(Assembler& out, int64_t n, std::initializer_list<Gpr> arrays, F&& f) {
  constexpr int64_t kAtOnce = 4, kUnrolled = 16;
  const int width = out.most_lanes();
  int64_t packs = n / width;
  if (const int64_t rounds = packs > kUnrolled ? packs / kAtOnce : 0) {
    out.set(Gpr::rsi, int32_t(rounds));
    const size_t begin = out.size();
    for (int64_t i = 0; i < kAtOnce; ++i) f(width, i * Assembler::kBytes);
    for (const Gpr array : arrays) out.add(array, kAtOnce * Assembler::kBytes);
    out.repeat(Gpr::rsi, begin);
    packs -= rounds * kAtOnce;
  }
  for (int64_t i = 0; i < packs; ++i) f(width, i * Assembler::kBytes);
  if (n % width) f(int(n % width), packs * Assembler::kBytes);
}

// Leaves 0 in rax where all gradients are finite: any other number makes their sum times 0 not a number.
class FiniteCode {
  static constexpr int kSums = 6, kZero = 14, kMask = 15;

 public:
  FiniteCode(Assembler& out, const FitCall& fit, const Team& team) : out_(out), fit_(fit), team_(team) {}

  bool fits() const { return !wants_norm(fit_.rule); }  // else all gradients are looked at for that

  void write() const {
    const int width = out_.most_lanes();
    for (int r = 0; r < kSums; ++r) out_.clear(r);
    out_.clear(kZero);
    for (int f = 0; f < fit_.n_factors; ++f) {
      const Factor& factor = fit_.factors[f];
      const int64_t blocks = reduction_blocks(factor.elements), first = team_.begin(blocks) * kReduction;
      const int64_t n = std::min(factor.elements, team_.end(blocks) * kReduction) - first;
      fetch_array(out_, Gpr::rcx, {kScratch, factor.gradient_offset + first});
      if (const int tail = int(n % width); tail && !out_.moves_whole(tail)) out_.load(width, kMask, out_.lane_mask(tail));
      int next = 0;
      each_code_pack(out_, n, {Gpr::rcx}, [&](int lanes, int64_t bytes) {
        const int sum = next++ % (kSums - 1);
        if (lanes == width) return out_.fma231(width, sum, kZero, {Gpr::rcx, bytes});
        out_.load(lanes, kSums, {Gpr::rcx, bytes}, kMask);
        out_.fma231(width, kSums - 1, kZero, kSums);
      });
    }
    for (int r = 1; r < kSums; ++r) out_.add(width, 0, 0, r);
    out_.compare(Assembler::kUnordered, 0, 0, 0);
    out_.signs(0);
  }

 private:
  Assembler& out_;
  const FitCall& fit_;
  const Team team_;
};

class UpdateCode {
  using Field = double Coefficients<double>::*;
  using C = Coefficients<double>;
  static constexpr int kGradient = 0, kNumber = 1, kFirst = 2, kSecond = 3, kSpare = 4, kMask = 5;  // then coefficients

 public:
  // arrays: where the addresses of each factor are, its numbers first, then its moments; coefficients: where those of
  // each group's are, by steps/pace.h in the type that computes
  UpdateCode(Assembler& out, const FitCall& fit, int32_t arrays, int32_t coefficients, const Team& team)
      : out_(out), fit_(fit), team_(team), arrays_(arrays), coefficients_(coefficients), width_(out.most_lanes()) {}

  bool fits() const { return !fit_.rule.clip_value; }

  void write() {
    for (int f = 0; f < fit_.n_factors; ++f) {
      const Factor& factor = fit_.factors[f];
      if (f == 0 || factor.group != fit_.factors[f - 1].group) read_coefficients(factor);
      const PackShare share(factor.elements, width_, team_);
      const int64_t n = share.last - share.first;
      if (n <= 0) continue;
      fetch_share(Gpr::rax, f, 0, share.first);
      fetch_array(out_, Gpr::rcx, {kScratch, factor.gradient_offset + share.first});
      for (int m = 0; m < kMoments; ++m)
        if (factor.moments[m]) fetch_share(kMoment[m], f, 1 + m, share.first);
      if (const int tail = int(n % width_); tail && !out_.moves_whole(tail)) out_.load(width_, kMask, out_.lane_mask(tail));
      each_code_pack(out_, n, {Gpr::rax, Gpr::rcx, kMoment[0], kMoment[1], kMoment[2]},
                     [&](int lanes, int64_t bytes) { move(factor, lanes, bytes); });
    }
  }

 private:
  static constexpr Gpr kMoment[] = {Gpr::rdx, Gpr::r8, Gpr::r9};

  // Where a member's share of a factor begins (array 0), or of one of its moments.
  void fetch_share(Gpr d, int factor, int array, int64_t first) const {
    out_.fetch(d, address_at(arrays_ + factor * (1 + kMoments) + array));
    if (first) out_.add(d, first * out_.element());
  }

  bool adam() const { return fit_.rule.kind == RuleKind::adam; }

  void read_coefficients(const Factor& factor) {
    used_ = {&C::scale, &C::decay, &C::rate};
    if (factor.moments[0]) used_.insert(used_.end(), {&C::keep, &C::take});
    if (factor.moments[0] && !adam()) used_.insert(used_.end(), {&C::direct, &C::ahead});
    if (adam()) used_.insert(used_.end(), {&C::shrink, &C::keep2, &C::take2, &C::root, &C::eps});
    out_.fetch(Gpr::r10, address_at(coefficients_ + factor.group));
    int64_t place = 0;
    each_coefficient<int>([&](Field field) {
      const auto found = std::find(used_.begin(), used_.end(), field);
      if (found != used_.end()) out_.broadcast(holds(field), {Gpr::r10, place * out_.element()});
      return int(place++);
    });
  }
  int holds(Field field) const { return kMask + 1 + int(std::find(used_.begin(), used_.end(), field) - used_.begin()); }

  void mul(int d, int a, int b) const { out_.mul(width_, d, a, b); }
  void add(int d, int a, int b) const { out_.add(width_, d, a, b); }
  // d = x * a + y * b, each product rounded.  d, b: changed
  void mix(int d, Field x, int a, Field y, int b) const {
    mul(d, holds(x), a);
    mul(b, holds(y), b);
    add(d, d, b);
  }

  void move(const Factor& factor, int lanes, int64_t bytes) const {
    const auto array = [&](int m) { return Memory{kMoment[m], bytes}; };
    out_.load(lanes, kNumber, {Gpr::rax, bytes}, kMask);
    out_.load(lanes, kGradient, {Gpr::rcx, bytes}, kMask);
    mul(kSpare, holds(&C::decay), kNumber);
    mul(kGradient, holds(&C::scale), kGradient);
    add(kGradient, kGradient, kSpare);
    if (factor.moments[0]) {
      out_.load(lanes, kFirst, array(0), kMask);
      out_.copy(kSpare, kGradient);
      mix(kFirst, &C::keep, kFirst, &C::take, kSpare);
      out_.store(lanes, array(0), kFirst, kSpare);
    }
    if (adam()) {
      adapt(factor, lanes, array);
    } else if (factor.moments[0]) {
      mix(kGradient, &C::direct, kGradient, &C::ahead, kFirst);
    }
    out_.fma231(width_, kNumber, holds(&C::rate), kGradient);
    out_.store(lanes, {Gpr::rax, bytes}, kNumber, kSpare);
  }

  // Adam's direction in place of the gradient, the number shrunk.
  template <class Array>
  void adapt(const Factor& factor, int lanes, Array array) const {
    out_.load(lanes, kSecond, array(1), kMask);
    mul(kSpare, holds(&C::take2), kGradient);
    mul(kSpare, kSpare, kGradient);
    mul(kSecond, holds(&C::keep2), kSecond);
    add(kSecond, kSecond, kSpare);
    out_.store(lanes, array(1), kSecond, kSpare);
    if (factor.moments[2]) {
      out_.load(lanes, kSpare, array(2), kMask);
      out_.most(width_, kSecond, kSecond, kSpare);
      out_.store(lanes, array(2), kSecond, kSpare);
    }
    out_.root(width_, kSecond, kSecond);
    mul(kSecond, holds(&C::root), kSecond);
    add(kSecond, kSecond, holds(&C::eps));
    out_.div(width_, kGradient, kFirst, kSecond);
    mul(kNumber, holds(&C::shrink), kNumber);
  }

  Assembler& out_;
  const FitCall& fit_;
  const Team team_;
  const int32_t arrays_, coefficients_;
  const int width_;
  std::vector<Field> used_;  // coefficients that a register holds
};

}  // namespace irk
