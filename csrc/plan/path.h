// A contraction path: each step takes the tensors at its positions out of the list and appends what they make.
// It travels behind an equation, as `\x01` and then 0+2;1+2 (the steps of opt_einsum's [(0, 2), (1, 2)]).
#pragma once
#include <cstddef>
#include <string>
#include <vector>

namespace irk {

constexpr char kPathMark = '\x01';
using Path = std::vector<std::vector<size_t>>;  // [steps][positions], ascending

// Throws std::invalid_argument where the steps do not leave exactly one tensor of so many operands.
Path parse_path(const std::string& steps, size_t operands);

}  // namespace irk
