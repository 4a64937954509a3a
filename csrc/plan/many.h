// Orders in which very many tensors may meet, made in about as many steps as there are tensors.
#pragma once
#include <utility>
#include <vector>

#include "plan/letters.h"

namespace irk {

// Meetings of two, in order; what a meeting makes is numbered on behind the tensors.
using Meetings = std::vector<std::pair<int, int>>;

// Candidates, the preferred one first: letters that two tensors alone share are summed where the result is no larger than
// they are, and what is left meets in pairs of neighbours; the same, whatever the size of the result; from the first tensor
// to the last; and back.
// live: letters that count, extents: of these.
std::vector<Meetings> orders_of_many(const std::vector<LetterSet>& tensors, const LetterSet& output, const std::vector<int>& live,
                                     const std::vector<double>& extents);

}  // namespace irk
