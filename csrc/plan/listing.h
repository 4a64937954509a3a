// The observed entries of a mini-batch as a plan reads them: their coordinates, and their sorted orders.
// All entries were sorted once; a batch is sorted by the ranks that its entries have there, so no coordinate is compared.
#pragma once
#include <cstdint>
#include <utility>

namespace irk {

struct Ranked {
  uint64_t rank;
  int64_t slot;  // position in the batch
};

// Sorts by rank, all below `most`, eight bits a pass, stable; returns the sorted one of the two arrays.
inline Ranked* sort_ranks(Ranked* from, Ranked* to, int64_t n, uint64_t most) {
  for (int shift = 0; shift < 64 && (most - 1) >> shift; shift += 8) {
    int64_t starts[257] = {};
    for (int64_t i = 0; i < n; ++i) ++starts[(from[i].rank >> shift & 255) + 1];
    for (int digit = 0; digit < 256; ++digit) starts[digit + 1] += starts[digit];
    for (int64_t i = 0; i < n; ++i) to[starts[from[i].rank >> shift & 255]++] = from[i];
    std::swap(from, to);
  }
  return from;
}

// All observed entries, and one order of them.
template <class Index>
struct Listed {
  int64_t count, columns;
  const Index* coordinates;  // [columns, count]
};

template <class Index>
void list_columns(const Listed<Index>& all, const int64_t* batch, int64_t size, Index* columns) {  // [all.columns, size]
  for (int64_t c = 0; c < all.columns; ++c)
    for (int64_t j = 0; j < size; ++j) columns[c * size + j] = all.coordinates[c * all.count + batch[j]];
}

// One order of a batch; returns its number of groups. ranks [all.count]; by: the columns that a group shares.
// columns [all.columns, size]: of the batch as drawn; sorted [all.columns, size]; work [2 * size].
template <class Index>
int64_t list_order(const Listed<Index>& all, const Index* ranks, const int64_t* batch, int64_t size, const int* by, int n_by,
                   const Index* columns, Index* perm, Index* starts, Index* sorted, Ranked* work) {
  for (int64_t j = 0; j < size; ++j) work[j] = {uint64_t(ranks[batch[j]]), j};
  const Ranked* order = sort_ranks(work, work + size, size, uint64_t(all.count));
  for (int64_t j = 0; j < size; ++j) perm[j] = Index(order[j].slot);
  for (int64_t c = 0; c < all.columns; ++c)
    for (int64_t j = 0; j < size; ++j) sorted[c * size + j] = columns[c * size + order[j].slot];
  int64_t groups = 0;
  for (int64_t j = 0; j < size; ++j) {
    bool first = j == 0;
    for (int i = 0; i < n_by && !first; ++i) first = sorted[by[i] * size + j] != sorted[by[i] * size + j - 1];
    if (first) starts[groups++] = Index(j);
  }
  starts[groups] = Index(size);
  return groups;
}

}  // namespace irk
