// Walking nested loops: an odometer over several extents that keeps the offsets of the step's three arrays.
#pragma once
#include <cstdint>

#include "core/platform.h"
#include "plan/program.h"

namespace irk {

// std::min by value: no machine's code may take the address of a constant.
template <class N>
IRK_FN constexpr N least(N a, N b) {
  return b < a ? b : a;
}

constexpr int kMaxNest = 64;  // loops of one step that could not be joined

struct Walk {
  const Loop* loops;
  int n;
  int64_t index[kMaxNest];
  int64_t a = 0, b = 0, c = 0;

  IRK_FN Walk(const Loop* pool, Span span, int64_t start = 0) : loops(pool + span.first), n(span.count) { seek(start); }

  IRK_FN int64_t size() const {
    int64_t total = 1;
    for (int i = 0; i < n; ++i) total *= loops[i].extent;
    return total;
  }
  IRK_FN void seek(int64_t linear) {
    a = b = c = 0;
    for (int i = n; i-- > 0;) {
      index[i] = linear % loops[i].extent;
      linear /= loops[i].extent;
      a += index[i] * loops[i].a;
      b += index[i] * loops[i].b;
      c += index[i] * loops[i].c;
    }
  }
  IRK_FN void next() {
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

// Where a walk from `linear` would begin, for those who take no further step.
struct Offsets {
  int64_t a = 0, b = 0, c = 0;

  IRK_FN Offsets(const Loop* pool, Span span, int64_t linear) {
    for (int i = span.first + span.count; i-- > span.first; linear /= pool[i].extent) {
      const int64_t index = linear % pool[i].extent;
      a += index * pool[i].a;
      b += index * pool[i].b;
      c += index * pool[i].c;
    }
  }
};

IRK_FN inline int64_t extent_of(const Loop* pool, Span span) {
  int64_t total = 1;
  for (int i = span.first; i < span.first + span.count; ++i) total *= pool[i].extent;
  return total;
}

}  // namespace irk
