// Storage type to compute type and back, and zeros.
#pragma once
#include <algorithm>

#include "core/half.h"
#include "steps/walk.h"
#include "team/team.h"

namespace irk {

template <class Half>
void widen_step(const Step& step, const Loop* pool, const Half* a, float* c, const Team& team) {
  Walk walk(pool, step.outer);
  const int64_t first = team.begin(step.count), last = team.end(step.count);
  walk.seek(first);
  for (int64_t i = first; i < last; ++i, walk.next()) c[walk.c] = a[walk.a].widen();
}

template <class Half>
void narrow_step(const Step& step, const Loop* pool, const float* a, Half* c, const Team& team) {
  Walk walk(pool, step.outer);
  const int64_t first = team.begin(step.count), last = team.end(step.count);
  walk.seek(first);
  for (int64_t i = first; i < last; ++i, walk.next()) c[walk.c] = Half::narrow(a[walk.a]);
}

template <class T>
void fill_step(const Step& step, T* c, const Team& team) {
  std::fill(c + team.begin(step.count), c + team.end(step.count), T{});
}

}  // namespace irk
