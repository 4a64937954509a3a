// Walking nested loops: an odometer over several extents that keeps the offsets of the step's three arrays.
#pragma once
#include <cstdint>

#include "core/divide.h"
#include "plan/program.h"

namespace irk {

// std::min by value: no machine's code may take the address of a constant.
template <class N>
IRK_FN constexpr N least(N a, N b) {
  return b < a ? b : a;
}

constexpr int kMaxNest = 64;  // loops of one step that could not be joined

IRK_FN inline int64_t extent_of(const Loop* pool, Span span) {
  int64_t total = 1;
  for (int i = span.first; i < span.first + span.count; ++i) total *= pool[i].extent;
  return total;
}

// Where a walk from `linear` begins. Past the end it begins anew.
struct Offsets {
  int64_t a = 0, b = 0, c = 0;

  IRK_FN Offsets(const Loop* pool, Span span, int64_t linear) {
    for (int i = span.first + span.count; i-- > span.first;) {
      const Divided at = divide(linear, pool[i].extent);
      linear = at.quotient;
      a += at.rest * pool[i].a;
      b += at.rest * pool[i].b;
      c += at.rest * pool[i].c;
    }
  }
};

#if defined(IRK_ONE_LANE)
// A thread's few registers hold the innermost loop's index; the others are divided out anew where it ends.
struct Walk {
  const Loop* loops;
  int n;
  int64_t linear = 0, inner = 0, extent = 1;
  int64_t a = 0, b = 0, c = 0;

  IRK_FN Walk(const Loop* pool, Span span, int64_t start = 0) : loops(pool + span.first), n(span.count) {
    if (n) extent = loops[n - 1].extent;
    seek(start);
  }

  IRK_FN int64_t size() const { return extent_of(loops, {0, n}); }
  IRK_FN int64_t at(int i) const {  // of the i-th loop
    Divided at = divide(linear, loops[n - 1].extent);
    for (int j = n - 1; j-- > i;) at = divide(at.quotient, loops[j].extent);
    return at.rest;
  }
  IRK_FN void seek(int64_t to) {
    linear = to;
    if (!to) {
      inner = a = b = c = 0;
      return;
    }
    const Offsets offsets(loops, {0, n}, to);
    inner = divide(to, extent).rest;
    a = offsets.a, b = offsets.b, c = offsets.c;
  }
  IRK_FN void next() {
    if (inner + 1 == extent) return seek(n > 1 ? linear + 1 : 0);
    ++linear, ++inner;
    const Loop& loop = loops[n - 1];
    a += loop.a, b += loop.b, c += loop.c;
  }
};
#else
struct Walk {
  const Loop* loops;
  int n;
  int64_t index[kMaxNest];
  int64_t a = 0, b = 0, c = 0;

  Walk(const Loop* pool, Span span, int64_t start = 0) : loops(pool + span.first), n(span.count) { seek(start); }

  int64_t size() const { return extent_of(loops, {0, n}); }
  int64_t at(int i) const { return index[i]; }  // of the i-th loop
  void seek(int64_t linear) {
    a = b = c = 0;
    for (int i = n; i-- > 0;) {
      index[i] = linear % loops[i].extent;
      linear /= loops[i].extent;
      a += index[i] * loops[i].a;
      b += index[i] * loops[i].b;
      c += index[i] * loops[i].c;
    }
  }
  const Loop& innermost() const { return loops[n - 1]; }
  int64_t ahead() const { return innermost().extent - index[n - 1]; }  // from here to the end of the innermost loop
  void next(int64_t steps) {  // at most so many
    index[n - 1] += steps - 1;
    a += (steps - 1) * innermost().a;
    b += (steps - 1) * innermost().b;
    c += (steps - 1) * innermost().c;
    next();
  }
  void next() {
    for (int i = n; i-- > 0;) {
      a += loops[i].a;
      b += loops[i].b;
      c += loops[i].c;
      if (++index[i] < loops[i].extent) return;
      index[i] = 0;
      a -= loops[i].extent * loops[i].a;
      b -= loops[i].extent * loops[i].b;
      c -= loops[i].extent * loops[i].c;
    }
  }
};
#endif

}  // namespace irk
