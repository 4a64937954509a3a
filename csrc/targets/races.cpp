// Compiled into the severe emulation alone, and not told of its own loads and stores.
#include "targets/races.h"

#include <pthread.h>

#include <unordered_map>
#include <utility>
#include <vector>

namespace irk::races {
namespace {

constexpr int64_t kNobody = -1, kSeveral = -2;

struct Access {
  int64_t team = kNobody, epoch = 0, thread = kNobody;
};
struct Cell {
  Access write, read;
};

struct State {
  int64_t team = 0, epoch = 0, thread = kNobody;
  std::unordered_map<uintptr_t, Cell> cells;
  std::vector<std::pair<uintptr_t, uintptr_t>> apart;  // stacks
  uintptr_t shared = 0, shared_end = 0, margin = 0;
  std::string found;
};
thread_local State state;

bool within(uintptr_t at, uintptr_t begin, uintptr_t end) { return at >= begin && at < end; }

void report(const char* what, uintptr_t at, const Access& other) {
  if (!state.found.empty()) return;
  const auto who = [](int64_t thread) { return thread == kSeveral ? std::string("several") : std::to_string(thread); };
  state.found = std::string(what) + ": thread " + std::to_string(state.thread) + " of team " + std::to_string(state.team) +
                " after thread " + who(other.thread) + " of team " + std::to_string(other.team);
  if (within(at, state.shared, state.shared_end)) state.found += ", byte " + std::to_string(at - state.shared) + " of shared memory";
}

// Whether another thread may have been there at the same time.
bool meets(const Access& other) {
  if (other.team == kNobody) return false;
  if (other.team != state.team) return true;
  return other.epoch == state.epoch && other.thread != state.thread;
}

void access(uintptr_t at, bool narrow, bool write) {
  Cell& cell = state.cells[2 * at + narrow];
  if (meets(cell.write)) report(write ? "two threads write" : "a thread reads what another writes", at, cell.write);
  if (write && meets(cell.read)) report("a thread writes what another reads", at, cell.read);
  const Access own{state.team, state.epoch, state.thread};
  if (write) {
    cell.write = own;
  } else if (cell.read.team == kSeveral || (cell.read.team != kNobody && cell.read.team != state.team)) {
    cell.read = {kSeveral, 0, kSeveral};
  } else if (cell.read.epoch == state.epoch && cell.read.team == state.team && cell.read.thread != state.thread) {
    cell.read.thread = kSeveral;
  } else {
    cell.read = own;
  }
}

void told(const void* data, size_t n, bool write) {
  if (state.thread == kNobody) return;
  const auto at = reinterpret_cast<uintptr_t>(data);
  for (const auto& [begin, end] : state.apart)
    if (within(at, begin, end)) return;
  if (state.margin && (within(at, state.shared - state.margin, state.shared) ||
                       (at + n > state.shared_end && at < state.shared_end + state.margin && at + n > state.shared))) {
    if (state.found.empty()) state.found = "thread " + std::to_string(state.thread) + " reaches beside the shared memory of its block";
    return;
  }
  if (n < 4)
    for (size_t i = 0; i < n; ++i) access(at + i, true, write);
  else
    for (size_t i = 0; i < n; i += 4) access(at + i, false, write);
}

}  // namespace

void begin_launch() {
  state.cells.clear();
  state.found.clear();
  state.margin = 0;
  pthread_attr_t attributes;
  void* stack = nullptr;
  size_t size = 0;
  if (state.apart.empty() && !pthread_getattr_np(pthread_self(), &attributes)) {
    pthread_attr_getstack(&attributes, &stack, &size);
    pthread_attr_destroy(&attributes);
    leave_out(stack, size);
  }
}
std::string end_launch() {
  stand_still();
  return std::exchange(state.found, {});
}
void begin_team(int64_t team) {
  state.team = team;
  state.epoch = 0;
}
void next_epoch() { ++state.epoch; }
void go_on(int thread) { state.thread = thread; }
void stand_still() { state.thread = kNobody; }
void leave_out(const void* data, size_t n) {
  const auto at = reinterpret_cast<uintptr_t>(data);
  state.apart.emplace_back(at, at + n);
}
void guard(const char* data, size_t n, size_t margin) {
  state.shared = reinterpret_cast<uintptr_t>(data);
  state.shared_end = state.shared + n;
  state.margin = margin;
  for (uintptr_t at = state.shared; at < state.shared_end; ++at) {  // another block had it before
    state.cells.erase(2 * at);
    state.cells.erase(2 * at + 1);
  }
}

}  // namespace irk::races

// What the compiler calls.
#define IRK_TOLD(n)                                                                          \
  void __tsan_read##n(void* at) { irk::races::told(at, n, false); }                          \
  void __tsan_write##n(void* at) { irk::races::told(at, n, true); }                          \
  void __tsan_unaligned_read##n(void* at) { irk::races::told(at, n, false); }                \
  void __tsan_unaligned_write##n(void* at) { irk::races::told(at, n, true); }

extern "C" {
IRK_TOLD(1)
IRK_TOLD(2)
IRK_TOLD(4)
IRK_TOLD(8)
IRK_TOLD(16)
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_read_range(void* at, unsigned long n) { irk::races::told(at, n, false); }
void __tsan_write_range(void* at, unsigned long n) { irk::races::told(at, n, true); }
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
}
