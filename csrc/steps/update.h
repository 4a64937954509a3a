// One optimizer step of the entries of one factor. V is a pack of entries, or of trials with coefficients of their own.
// Reference: irkernels/reference/rules.py (torch.optim.SGD, Adam, AdamW; GroupRMSprop is a rate for all entries).
#pragma once
#include "core/pack.h"
#include "steps/pace.h"
#include "team/team.h"

namespace irk {

template <class V>
IRK_FN inline V decayed_gradient(const Coefficients<V>& c, V p, V g) {
  const V cut = smaller(larger(g, V::zero() - c.bound), c.bound);
  return c.scale * cut + c.decay * p;
}

template <class V>
IRK_FN inline V descend(const Coefficients<V>& c, V p, V g) {
  return fma(c.rate, decayed_gradient(c, p, g), p);
}

template <class V>
IRK_FN inline V momentum(const Coefficients<V>& c, V p, V g, V& velocity) {
  const V gradient = decayed_gradient(c, p, g);
  velocity = c.keep * velocity + c.take * gradient;
  return fma(c.rate, c.direct * gradient + c.ahead * velocity, p);
}

// most: the largest second moment so far, of amsgrad alone.
template <class V>
IRK_FN inline V adam(const Coefficients<V>& c, V p, V g, V& first, V& second, bool amsgrad, V& most) {
  const V gradient = decayed_gradient(c, p, g);
  first = c.keep * first + c.take * gradient;
  second = c.keep2 * second + c.take2 * gradient * gradient;
  if (amsgrad) most = larger(most, second);
  return fma(c.rate, first / (c.root * sqrt(amsgrad ? most : second) + c.eps), c.shrink * p);
}

// A member's share of n numbers, in whole packs but for the last.
struct PackShare {
  int64_t first, last;
  IRK_FN PackShare(int64_t n, int64_t width, const Team& team) {
    const int64_t packs = (n + width - 1) / width;
    first = team.begin(packs) * width;
    last = least(n, team.end(packs) * width);
  }
};

// Of a member's share of 0..n: entry(i) for every whole pack, then entry(i, lanes) for the rest. Where a pack is one number,
// members are threads side by side, and so are their numbers.
template <class T, class Entry>
IRK_FN inline void each_pack(int64_t n, const Team& team, Entry entry) {
  constexpr int W = Pack<T>::kLanes;
  if constexpr (W == 1) {
    for (int64_t i = team.rank; i < n; i += team.size) entry(i);
  } else {
    const PackShare share(n, W, team);
    int64_t i = share.first;
    for (; i + W <= share.last; i += W) entry(i);
    if (i < share.last) entry(i, int(share.last - i));
  }
}

// p, g and the moments are n entries of one factor; moments as in Factor, null where the rule has none.
template <class T>
IRK_FN void update(RuleKind kind, const Coefficients<double>& step, T* p, T* const* moments, const T* g, int64_t n,
                   const Team& team) {
  using P = Pack<T>;
  const auto c = each_coefficient<P>([&](double Coefficients<double>::*field) { return P::broadcast(T(step.*field)); });
  T *const first = moments[0], *const second = moments[1], *const most = moments[2];
  if (!first) {
    each_pack<T>(n, team, [&](int64_t i, auto... lanes) {
      descend(c, P::load(p + i, lanes...), P::load(g + i, lanes...)).store(p + i, lanes...);
    });
  } else if (kind != RuleKind::adam) {
    each_pack<T>(n, team, [&](int64_t i, auto... lanes) {
      P velocity = P::load(first + i, lanes...);
      momentum(c, P::load(p + i, lanes...), P::load(g + i, lanes...), velocity).store(p + i, lanes...);
      velocity.store(first + i, lanes...);
    });
  } else {
    each_pack<T>(n, team, [&](int64_t i, auto... lanes) {
      P m = P::load(first + i, lanes...), v = P::load(second + i, lanes...), top = P::zero();
      if (most) top = P::load(most + i, lanes...);
      adam(c, P::load(p + i, lanes...), P::load(g + i, lanes...), m, v, most != nullptr, top).store(p + i, lanes...);
      m.store(first + i, lanes...);
      v.store(second + i, lanes...);
      if (most) top.store(most + i, lanes...);
    });
  }
}

}  // namespace irk
