// Powers of two of the lanes of a pack, as whole numbers: what steps/exponent.h says of one number, of a pack at once.
#pragma once
#include "core/pack.h"
#include "steps/exponent.h"

namespace irk {

template <class T>
struct Exponents {
  using Lanes = Pack<T>;
  using F = Format<T>;
  using Element = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;
  typedef Element Whole __attribute__((vector_size(IRK_VECTOR_BYTES)));
  Whole v;

  static Exponents zero() { return {Whole{}}; }
  static Exponents load(const T* p) {
    Exponents e;
    std::memcpy(&e.v, p, sizeof(e.v));
    return e;
  }
  void store(T* p) const { std::memcpy(p, &v, sizeof(v)); }
  Exponents operator+(Exponents o) const { return {v + o.v}; }

  // Brings the numbers to [1, 2), and adds the powers that this took away.
  Lanes settle(Lanes x) {
    Whole bits;
    std::memcpy(&bits, &x.v, sizeof(bits));
    const Whole size = bits << 1, field = bits >> F::kMantissa & F::kSpecial, e = between(field - F::kBias, F::kBias - 1);
    const Whole taken = (size == 0) | (field == F::kSpecial) ? Whole{} : e;
    v = v + taken;
    return x * power(-taken);
  }

  // The powers in two halves, normal numbers: a number beyond twice their range becomes 0 or infinity either way.
  void split(Lanes& first, Lanes& second) const {
    const Whole whole = between(v, 2 * (F::kBias - 1)), half = whole / 2;
    first = power(half);
    second = power(whole - half);
  }

 private:
  static Whole between(Whole e, int most) {
    const Whole high = Whole{} + most;
    e = e > high ? high : e;
    return e < -high ? -high : e;
  }
  static Lanes power(Whole e) {
    const Whole bits = (e + F::kBias) << F::kMantissa;
    Lanes x;
    std::memcpy(&x.v, &bits, sizeof(bits));
    return x;
  }
};

}  // namespace irk
