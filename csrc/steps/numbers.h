// What a scalar T and a Pack<T> with one trial a lane have in common, so that per-trial arithmetic is written once.
#pragma once
#include <cmath>
#include <type_traits>

#include "core/pack.h"

namespace irk {

template <class V>
struct NumberTraits {
  using Scalar = V;
  static constexpr bool kPack = false;
};
template <class T>
struct NumberTraits<Pack<T>> {
  using Scalar = T;
  static constexpr bool kPack = true;
};
template <class V>
using ScalarOf = typename NumberTraits<V>::Scalar;

template <class V>
IRK_FN inline V number(double x) {
  if constexpr (NumberTraits<V>::kPack) return V::broadcast(ScalarOf<V>(x));
  else return V(x);
}

// The first `lanes` numbers at p, one a lane; a scalar has one.
template <class V>
IRK_FN inline V load_number(const ScalarOf<V>* p, int lanes) {
  if constexpr (NumberTraits<V>::kPack) return V::load(p, lanes);
  else return *p;
}
template <class V>
IRK_FN inline void store_number(ScalarOf<V>* p, V x, int lanes) {
  if constexpr (NumberTraits<V>::kPack) x.store(p, lanes);
  else *p = x;
}

template <class T, class = std::enable_if_t<std::is_floating_point_v<T>>>
IRK_FN inline bool less(T a, T b) { return a < b; }
template <class T, class = std::enable_if_t<std::is_floating_point_v<T>>>
IRK_FN inline bool less_equal(T a, T b) { return a <= b; }
template <class T, class = std::enable_if_t<std::is_floating_point_v<T>>>
IRK_FN inline bool unlike(T a, T b) { return a != b; }
template <class T, class = std::enable_if_t<std::is_floating_point_v<T>>>
IRK_FN inline T choose(bool which, T a, T b) { return which ? a : b; }
template <class T, class = std::enable_if_t<std::is_floating_point_v<T>>>
IRK_FN inline T magnitude(T a) { return a < 0 ? -a : a; }
template <class T, class = std::enable_if_t<std::is_floating_point_v<T>>>
IRK_FN inline T root(T a) { return std::sqrt(a); }

template <class T>
IRK_FN inline auto less(Pack<T> a, Pack<T> b) { return a.v < b.v; }
template <class T>
IRK_FN inline auto less_equal(Pack<T> a, Pack<T> b) { return a.v <= b.v; }
template <class T>
IRK_FN inline auto unlike(Pack<T> a, Pack<T> b) { return a.v != b.v; }
template <class Mask, class T>
IRK_FN inline Pack<T> choose(Mask which, Pack<T> a, Pack<T> b) { return {which ? a.v : b.v}; }
template <class T>
IRK_FN inline Pack<T> magnitude(Pack<T> a) { return choose(less(a, number<Pack<T>>(0)), number<Pack<T>>(-1) * a, a); }
template <class T>
IRK_FN inline Pack<T> root(Pack<T> a) { return sqrt(a); }

template <class V>
IRK_FN inline V negated(V a) { return number<V>(-1) * a; }

}  // namespace irk
