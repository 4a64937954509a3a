// Rows of an operand at listed coordinates, and their gradients added to the operand's: entry after entry in the caller's
// order, each number by one member, so that neither blocks nor members show in the bits.
#pragma once
#include "steps/sampled.h"

namespace irk {

// f(offset in the operand, in its gradient, first element of the row, count, their strides) for runs of elements of [first, last).
template <class F>
void each_run(const Loop* pool, Span rest, int64_t first, int64_t last, F&& f) {
  if (rest.count == 0) {
    if (first < last) f(0, 0, 0, 1, 0, 0);
    return;
  }
  const Loop& inner = pool[rest.first + rest.count - 1];
  if (rest.count == 1) return f(first * inner.a, first * inner.b, first, last - first, inner.a, inner.b);
  for (int64_t i = first; i < last;) {
    const int64_t n = least(inner.extent - i % inner.extent, last - i);
    const Offsets at(pool, rest, i);
    f(at.a, at.b, i, n, inner.a, inner.b);
    i += n;
  }
}

template <class T, class Index>
void gather_rows(const RowsOperand& o, const Loop* pool, const Entries& entries, int64_t first, int64_t count, const T* from, T* rows) {
  const Coordinates<Index> at(entries.columns, entries.nnz, pool, o.columns);
  for (int64_t n = 0; n < count; ++n, rows += o.width) {
    const T* row = from + at.template offset<&Loop::a>(first + n);
    each_run(pool, o.rest, 0, o.width, [&](int64_t a, int64_t, int64_t i, int64_t run, int64_t stride, int64_t) {
      if (stride == 1)
        for (int64_t j = 0; j < run; ++j) rows[i + j] = row[a + j];
      else
        for (int64_t j = 0; j < run; ++j) rows[i + j] = row[a + j * stride];
    });
  }
}

// Elements [begin, end) of every row; an operand without a listed letter has one row.
template <class T, class Index>
void scatter_rows(const RowsOperand& o, const Loop* pool, const Entries& entries, int64_t first, int64_t count, const T* pulled, T* to,
                  int64_t begin, int64_t end) {
  const Coordinates<Index> at(entries.columns, entries.nnz, pool, o.columns);
  for (int64_t n = 0; n < (o.rows < 0 ? 1 : count); ++n, pulled += o.width) {
    T* row = to + at.template offset<&Loop::b>(first + n);
    each_run(pool, o.rest, begin, end, [&](int64_t, int64_t b, int64_t i, int64_t run, int64_t, int64_t stride) {
      if (stride == 1)
        for (int64_t j = 0; j < run; ++j) row[b + j] += pulled[i + j];
      else
        for (int64_t j = 0; j < run; ++j) row[b + j * stride] += pulled[i + j];
    });
  }
}

}  // namespace irk
