// Storage type to compute type and back, and zeros.
#pragma once
#include "core/half.h"
#include "steps/walk.h"
#include "team/team.h"

namespace irk {

template <class Half>
IRK_FN void widen_step(const Step& step, const Loop* pool, const Half* a, float* c, const Team& team) {
  Walk walk(pool, step.outer);
  const int64_t first = team.begin(step.count), last = team.end(step.count);
  walk.seek(first);
  for (int64_t i = first; i < last; ++i, walk.next()) c[walk.c] = a[walk.a].widen();
}

template <class Half>
IRK_FN void narrow_step(const Step& step, const Loop* pool, const float* a, Half* c, const Team& team) {
  Walk walk(pool, step.outer);
  const int64_t first = team.begin(step.count), last = team.end(step.count);
  walk.seek(first);
  for (int64_t i = first; i < last; ++i, walk.next()) c[walk.c] = Half::narrow(a[walk.a]);
}

// Runs of `count` zeros at every index of `outer`.
template <class T>
IRK_FN void fill_step(const Step& step, const Loop* pool, T* c, const Team& team) {
  Walk outer(pool, step.outer);
  const int64_t runs = outer.size(), total = runs * step.count, last = team.end(total);
  if (!total) return;
  outer.seek(team.begin(total) / step.count);
  for (int64_t i = team.begin(total); i < last; outer.next()) {
    const int64_t at = i % step.count, n = least(step.count - at, last - i);
    for (int64_t j = at; j < at + n; ++j) c[outer.c + j] = T{};
    i += n;
  }
}

}  // namespace irk
