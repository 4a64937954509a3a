// Rows that entries will read soon, asked for ahead of time: they come from anywhere in memory, which no hardware
// foresees. Asking changes no result.
#pragma once
#include <algorithm>
#include <cstdint>

namespace irk {

constexpr int64_t kAhead = 16;                         // entries: more than memory's latency in work
constexpr int64_t kOwnCache = int64_t(1) << 20;        // bytes that a core keeps near itself
constexpr int64_t kLine = 64, kMostAsked = 16 * kLine;  // bytes; hardware follows the rest of a long row

// Whether rows that spread over so many elements are wider apart than a core's own cache.
template <class T>
bool far_apart(int64_t elements) {
  return elements * int64_t(sizeof(T)) > kOwnCache;
}

template <class T>
inline void ask_for_row(const T* row, int64_t width) {
  const char* bytes = reinterpret_cast<const char*>(row);
  const int64_t end = std::min(width * int64_t(sizeof(T)), kMostAsked);
  for (int64_t i = 0; i < end; i += kLine) __builtin_prefetch(bytes + i);
}

// Offsets beyond the n known ones, so that what lies ahead of the last can be asked for: the last one again.
inline void pad(int64_t* at, int64_t n, int64_t room) { std::fill(at + n, at + room, at[n - 1]); }

}  // namespace irk
