// A set of letters, any number of them: the first 256 lie in the set itself.
#pragma once
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace irk {

class LetterSet {
 public:
  bool operator[](size_t letter) const { return word(letter / 64) >> letter % 64 & 1; }
  void set(size_t letter, bool value = true) {
    const size_t at = letter / 64;
    if (at >= kInside + outside_.size()) {
      if (!value) return;
      outside_.resize(at + 1 - kInside);
    }
    uint64_t& bits = at < kInside ? inside_[at] : outside_[at - kInside];
    bits = (bits & ~(uint64_t(1) << letter % 64)) | uint64_t(value) << letter % 64;
  }
  void reset(size_t letter) { set(letter, false); }

  LetterSet operator|(const LetterSet& o) const {
    return combined(o, [](uint64_t a, uint64_t b) { return a | b; });
  }
  LetterSet operator&(const LetterSet& o) const {
    return combined(o, [](uint64_t a, uint64_t b) { return a & b; });
  }
  LetterSet without(const LetterSet& o) const {
    return combined(o, [](uint64_t a, uint64_t b) { return a & ~b; });
  }
  LetterSet& operator|=(const LetterSet& o) { return *this = *this | o; }
  LetterSet& operator&=(const LetterSet& o) { return *this = *this & o; }

  bool any() const {
    const auto held = [](uint64_t bits) { return bits != 0; };
    return std::any_of(inside_.begin(), inside_.end(), held) || std::any_of(outside_.begin(), outside_.end(), held);
  }
  bool none() const { return !any(); }
  bool operator==(const LetterSet& o) const {
    return combined(o, [](uint64_t a, uint64_t b) { return a ^ b; }).none();
  }
  bool operator!=(const LetterSet& o) const { return !(*this == o); }

 private:
  static constexpr size_t kInside = 4;

  uint64_t word(size_t at) const {
    if (at < kInside) return inside_[at];
    return at - kInside < outside_.size() ? outside_[at - kInside] : 0;
  }

  template <class Combine>
  LetterSet combined(const LetterSet& o, Combine combine) const {
    LetterSet result;
    for (size_t i = 0; i < kInside; ++i) result.inside_[i] = combine(inside_[i], o.inside_[i]);
    const size_t more = std::max(outside_.size(), o.outside_.size());
    if (more) result.outside_.resize(more);
    for (size_t i = 0; i < more; ++i) result.outside_[i] = combine(word(kInside + i), o.word(kInside + i));
    return result;
  }

  std::array<uint64_t, kInside> inside_{};
  std::vector<uint64_t> outside_;
};

}  // namespace irk
