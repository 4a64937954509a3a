// Notes that lanes have made of steps in a row, [steps, probes, W], as rows of each trial's records.
#pragma once
#include "core/pack.h"
#include "plan/fit_program.h"
#include "steps/record.h"

namespace irk {

// step: the first of them; trial, live: [W]
template <class T, class V>
void write_notes(const FitCall& fit, const V* notes, int64_t step, int64_t steps, const int64_t* trial, const bool* live,
                 int64_t trials) {
  constexpr int W = sizeof(V) / sizeof(T);
  const Records& records = *fit.records;
  const int64_t every = records.every, skip = (step + every - 1) / every * every - step;
  const int64_t due = skip < steps ? (steps - skip - 1) / every + 1 : 0, row = row_of(records, fit.first, step + skip);
  for (int64_t p = 0; p < records.n_probes; ++p) {
    const V* column = notes + skip * records.n_probes + p;
    for (int64_t begin = 0; begin < due; begin += W) {
      const int n = int(due - begin < W ? due - begin : W);
      V square[W]{};
      for (int i = 0; i < n; ++i) square[i] = column[(begin + i) * every * records.n_probes];
      if constexpr (W > 1) transpose(square);
      for (int lane = 0; lane < W; ++lane) {
        if (!live[lane]) continue;
        const int64_t place = p * trials + trial[lane];
        T* to = static_cast<T*>(records.rows) + place * records.n_rows + row + begin;
        std::memcpy(to, &square[lane], size_t(n) * sizeof(T));
        static_cast<T*>(records.now)[place] = to[n - 1];
      }
    }
  }
}

}  // namespace irk
