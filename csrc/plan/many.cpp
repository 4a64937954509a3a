#include "plan/many.h"

#include <algorithm>

namespace irk {
namespace {

class Pairing {
 public:
  Pairing(const std::vector<LetterSet>& tensors, const LetterSet& output, const std::vector<int>& live, const std::vector<double>& extents)
      : output_(output), live_(live), extents_(extents), letters_(tensors), gone_(tensors.size(), false), users_(live.size()) {
    for (size_t t = 0; t < tensors.size(); ++t)
      for (size_t l = 0; l < live.size(); ++l)
        if (tensors[t][size_t(live[l])]) users_[l].push_back(int(t));
  }

  // growing: whether a letter is summed where the result is larger than both tensors, too.
  Meetings run(bool growing) {
    for (size_t l = 0; l < live_.size(); ++l) {
      if (users_[l].size() != 2 || output_[size_t(live_[l])]) continue;
      const int a = users_[l][0], b = users_[l][1];
      const double larger = std::max(size(letters_[size_t(a)]), size(letters_[size_t(b)]));
      if (growing || size(result(a, b)) <= larger) meet(a, b);
    }
    std::vector<int> left;
    for (int t = 0; t < int(letters_.size()); ++t)
      if (!gone_[size_t(t)]) left.push_back(t);
    while (left.size() > 1) {
      std::vector<int> next;
      for (size_t i = 0; i + 1 < left.size(); i += 2) next.push_back(meet(left[i], left[i + 1]));
      if (left.size() % 2) next.push_back(left.back());
      left = next;
    }
    return meetings_;
  }

 private:
  double size(const LetterSet& set) const {
    double s = 1;
    for (size_t l = 0; l < live_.size(); ++l)
      if (set[size_t(live_[l])]) s *= extents_[l];
    return s;
  }

  LetterSet result(int a, int b) const {
    LetterSet made = letters_[size_t(a)] | letters_[size_t(b)];
    for (size_t l = 0; l < live_.size(); ++l) {
      const size_t letter = size_t(live_[l]);
      if (!made[letter] || output_[letter]) continue;
      if (users_[l].size() == size_t(letters_[size_t(a)][letter]) + letters_[size_t(b)][letter]) made.reset(letter);
    }
    return made;
  }

  int meet(int a, int b) {
    const LetterSet made = result(a, b);
    const int number = int(letters_.size());
    for (size_t l = 0; l < live_.size(); ++l) {
      if (!letters_[size_t(a)][size_t(live_[l])] && !letters_[size_t(b)][size_t(live_[l])]) continue;
      auto& users = users_[l];
      users.erase(std::remove_if(users.begin(), users.end(), [&](int t) { return t == a || t == b; }), users.end());
      if (made[size_t(live_[l])]) users.push_back(number);
    }
    letters_.push_back(made);
    gone_[size_t(a)] = gone_[size_t(b)] = true;
    gone_.push_back(false);
    meetings_.push_back({a, b});
    return number;
  }

  const LetterSet& output_;
  const std::vector<int>& live_;
  const std::vector<double>& extents_;
  std::vector<LetterSet> letters_;       // of the tensors, then of what meetings made
  std::vector<bool> gone_;
  std::vector<std::vector<int>> users_;  // [live letters] tensors that have it and have not met
  Meetings meetings_;
};

}  // namespace

std::vector<Meetings> orders_of_many(const std::vector<LetterSet>& tensors, const LetterSet& output, const std::vector<int>& live,
                                     const std::vector<double>& extents) {
  const int n = int(tensors.size());
  Meetings forward, back;
  for (int i = 1; i < n; ++i) {
    forward.push_back({i == 1 ? 0 : n + i - 2, i});
    back.push_back({n - 1 - i, i == 1 ? n - 1 : n + i - 2});
  }
  return {Pairing(tensors, output, live, extents).run(false), Pairing(tensors, output, live, extents).run(true), forward, back};
}

}  // namespace irk
