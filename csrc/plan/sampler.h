// Mini-batches: which observations a step uses. A pure function of (seed, step): nothing to carry, nothing to save.
//   An epoch is a permutation of all observations keyed by (seed, epoch), its batches are slices of it; observations beyond
//   the last whole batch wait for another epoch's permutation.
// The permutation is a Feistel network on the least power of two that holds them, walked until it falls among them.
// Reference: irkernels/reference/sampler.py
#pragma once
#include <cstdint>

namespace irk {

// The finaliser of splitmix64, a bijection of 64 bits.
inline uint64_t splitmix(uint64_t x) {
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
  x = (x ^ x >> 27) * 0x94D049BB133111EBu;
  return x ^ x >> 31;
}

class Permutation {
 public:
  Permutation(int64_t count, uint64_t seed, uint64_t epoch) : count_(uint64_t(count)) {
    while ((uint64_t(1) << bits_) < count_) ++bits_;
    low_ = bits_ / 2;
    rounds_ = count <= kFew ? kMostRounds : kMostRounds / 2;
    const uint64_t key = splitmix(splitmix(seed) ^ epoch);
    for (uint64_t r = 0; r < rounds_; ++r) keys_[r] = splitmix(key ^ r);
  }

  int64_t operator()(int64_t position) const {
    uint64_t x = uint64_t(position);
    do x = network(x);
    while (x >= count_);
    return int64_t(x);
  }

 private:
  static constexpr uint64_t kMostRounds = 12;
  static constexpr int64_t kFew = 256;  // halves of so few bits need more rounds until all orders are about equally likely

  uint64_t network(uint64_t x) const {
    const uint64_t low_mask = (uint64_t(1) << low_) - 1, high_mask = (uint64_t(1) << (bits_ - low_)) - 1;
    uint64_t low = x & low_mask, high = x >> low_;
    for (uint64_t r = 0; r < rounds_; r += 2) {
      high ^= splitmix(low ^ keys_[r]) & high_mask;
      low ^= splitmix(high ^ keys_[r + 1]) & low_mask;
    }
    return high << low_ | low;
  }

  uint64_t count_;
  int bits_ = 2, low_;
  uint64_t rounds_, keys_[kMostRounds];
};

// indices[size]: the observations of one step.
inline void draw_batch(int64_t count, int64_t size, uint64_t seed, int64_t step, int64_t* indices) {
  const int64_t each = count / size, first = step % each * size;
  const Permutation permutation(count, seed, uint64_t(step / each));
  for (int64_t j = 0; j < size; ++j) indices[j] = permutation(first + j);
}

}  // namespace irk
