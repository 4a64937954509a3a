// A tape's operations on V: one number, or a pack of trials. What fast/machine_code.h must equal, bit for bit.
#pragma once
#include <cstring>

#include "core/pack.h"
#include "plan/tape.h"
#include "steps/numbers.h"

namespace irk {

// What operators do not say of a number or a pack.
template <class V>
struct Bits {
  using Scalar = std::conditional_t<sizeof(V) == 4, uint32_t, uint64_t>;
  static V both(V a, V b) { return with(a, b, [](Scalar x, Scalar y) { return x & y; }); }
  static V either(V a, V b) { return with(a, b, [](Scalar x, Scalar y) { return x | y; }); }
  static V without(V a, V b) { return with(a, b, [](Scalar x, Scalar y) { return ~x & y; }); }
  static V less(V a, V b) { return filled(a < b); }
  static V at_most(V a, V b) { return filled(a <= b); }
  static V unlike(V a, V b) { return filled(a != b); }
  static V least(V a, V b) { return a < b ? a : b; }
  static V most(V a, V b) { return a > b ? a : b; }
  static bool some_nan(V a) { return a != a; }

 private:
  static V filled(bool yes) { return from(yes ? ~Scalar(0) : Scalar(0)); }
  template <class F>
  static V with(V a, V b, F f) {
    Scalar x, y;
    std::memcpy(&x, &a, sizeof(V));
    std::memcpy(&y, &b, sizeof(V));
    return from(f(x, y));
  }
  static V from(Scalar x) {
    V v;
    std::memcpy(&v, &x, sizeof(V));
    return v;
  }
};
template <class T>
struct Bits<Pack<T>> {
  using V = Pack<T>;
  using Lane = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;
  typedef Lane Vector __attribute__((vector_size(IRK_VECTOR_BYTES)));
  using Numbers = typename V::Vector;
  static V both(V a, V b) { return {(Numbers)((Vector)a.v & (Vector)b.v)}; }
  static V either(V a, V b) { return {(Numbers)((Vector)a.v | (Vector)b.v)}; }
  static V without(V a, V b) { return {(Numbers)(~(Vector)a.v & (Vector)b.v)}; }
  static V less(V a, V b) { return {(Numbers)(a.v < b.v)}; }
  static V at_most(V a, V b) { return {(Numbers)(a.v <= b.v)}; }
  static V unlike(V a, V b) { return {(Numbers)(a.v != b.v)}; }
  static V least(V a, V b) { return {a.v < b.v ? a.v : b.v}; }
  static V most(V a, V b) { return {a.v > b.v ? a.v : b.v}; }
  static bool some_nan(V a) {
    const Vector broken = a.v != a.v;
    Lane any = 0;
    for (int i = 0; i < V::kLanes; ++i) any |= broken[i];
    return any;
  }
};

// Whether all of the operations were done: false where one said to leave.  notes: [columns] of this step
template <class V>
bool interpret(const TapeOp* op, const TapeOp* end, V* x, V* notes = nullptr) {
  using B = Bits<V>;
  for (; op < end; ++op) {
    const V a = x[op->a], b = x[op->b];
    V& d = x[op->d];
    switch (op->op) {
      case Arith::fma: d = fma(a, b, x[op->c]); break;
      case Arith::add: d = a + b; break;
      case Arith::sub: d = a - b; break;
      case Arith::mul: d = a * b; break;
      case Arith::div: d = a / b; break;
      case Arith::root: d = root(a); break;
      case Arith::least: d = B::least(a, b); break;
      case Arith::most: d = B::most(a, b); break;
      case Arith::both: d = B::both(a, b); break;
      case Arith::either: d = B::either(a, b); break;
      case Arith::without: d = B::without(a, b); break;
      case Arith::less: d = B::less(a, b); break;
      case Arith::at_most: d = B::at_most(a, b); break;
      case Arith::unlike: d = B::unlike(a, b); break;
      case Arith::leave:
        if (B::some_nan(a)) return false;
        break;
      case Arith::note: notes[op->c] = a; break;
    }
  }
  return true;
}

}  // namespace irk
