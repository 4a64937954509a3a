#include "plan/path.h"

#include <algorithm>
#include <sstream>
#include <stdexcept>

namespace irk {
namespace {

// The positions of one step, each below `tensors`.
std::vector<size_t> parse_step(const std::string& step, size_t tensors) {
  std::vector<size_t> positions;
  std::istringstream parts(step);
  for (std::string part; std::getline(parts, part, '+');) {
    constexpr size_t kDigits = 9;
    const bool digits = part.find_first_not_of("0123456789") == std::string::npos;
    if (!digits || part.empty() || part.size() > kDigits || std::stoul(part) >= tensors)
      throw std::invalid_argument("the path names a position that is not there: '" + step + "'");
    positions.push_back(std::stoul(part));
  }
  std::sort(positions.begin(), positions.end());
  if (positions.empty() || std::adjacent_find(positions.begin(), positions.end()) != positions.end())
    throw std::invalid_argument("a step of the path names a position twice, or none: '" + step + "'");
  return positions;
}

}  // namespace

Path parse_path(const std::string& steps, size_t operands) {
  Path path;
  size_t tensors = operands;
  std::istringstream parts(steps);
  for (std::string step; std::getline(parts, step, ';');) {
    path.push_back(parse_step(step, tensors));
    tensors -= path.back().size() - 1;
  }
  if (tensors != 1)
    throw std::invalid_argument("the path leaves " + std::to_string(tensors) + " tensors apart (its last step must leave one)");
  return path;
}

}  // namespace irk
