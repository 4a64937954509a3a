// A team of std::thread members over csrc/team's barrier, for ThreadSanitizer, which does not see into OpenMP's runtime.
// Each round every member writes its share, all meet, and each reads what the others wrote; then they meet again.
// -DWITHOUT_SYNC leaves the meetings out: a race that the sanitizer must tell.
#include <thread>
#include <vector>

#include "team/patience.h"

namespace {

constexpr int kMembers = 4, kRounds = 2000;
constexpr int64_t kNumbers = 37;  // not a multiple of the members

void meet(const irk::Team& team) {
#ifndef WITHOUT_SYNC
  team.sync();
#endif
}

bool member(const irk::Team& team, std::vector<int64_t>& numbers, irk::Patience* patience) {
  bool right = true;
  for (int64_t round = 0; round < kRounds; ++round) {
    for (int64_t i = team.begin(kNumbers); i < team.end(kNumbers); ++i) numbers[size_t(i)] += round + i;
    meet(team);
    int64_t sum = 0;
    for (const int64_t number : numbers) sum += number;
    const int64_t rounds = round + 1;
    right = right && sum == kNumbers * (round * rounds / 2) + rounds * (kNumbers * (kNumbers - 1) / 2);
    if (patience) patience->ends(*team.barrier);
    meet(team);
  }
  return right;
}

}  // namespace

int main() {
  irk::Barrier barrier(kMembers);
  irk::Patience patience;
  std::vector<int64_t> numbers(size_t(kNumbers), 0);
  std::vector<char> right(kMembers, 0);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < kMembers; ++rank)
    threads.emplace_back([&, rank] { right[size_t(rank)] = member({rank, kMembers, &barrier}, numbers, rank ? nullptr : &patience); });
  for (auto& thread : threads) thread.join();
  for (const char each : right)
    if (!each) return 1;
  return 0;
}
