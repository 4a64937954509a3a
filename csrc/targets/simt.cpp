// The kernels of launches on the host, in an order drawn for each launch, on which nothing that comes out may depend. The
// threads of a step never wait for one another and run one after the other; those of training wait (targets/fibers.h).
#include <cstring>
#include <numeric>
#include <random>
#include <vector>

#include "targets/device.h"
#include "targets/device_fit.h"
#include "targets/fibers.h"
#include "targets/target.h"

namespace irk {
namespace {

thread_local std::mt19937_64 draw(20261123);
thread_local Fibers fibers;

int64_t below(int64_t n) { return int64_t(draw() % uint64_t(n)); }

// f(i) for 0..n in an order drawn anew.
template <class F>
void in_any_order(int64_t n, F&& f) {
  int64_t stride = below(n) + 1, i = below(n);
  while (std::gcd(stride, n) != 1) ++stride;  // then all are met
  for (int64_t met = 0; met < n; ++met, i = (i + stride) % n) f(i);
}

// Threads of one block, or of several that wait for one another.
struct FiberCrew : Team {
  __attribute__((always_inline)) void sync() const { fibers.wait(); }
  __attribute__((no_sanitize("thread"))) void raise(int* flag) const { *flag = 1; }
};

// What a block's threads share: its bytes are anything before they are written, and what lies beside it is nobody's.
class Shared {
 public:
  char* poisoned(size_t bytes) {
    room_.resize(bytes + 2 * kMargin);
    std::memset(room_.data(), 0xff, room_.size());  // NaN
    races::guard(room_.data() + kMargin, bytes, kMargin);
    return room_.data() + kMargin;
  }

 private:
  static constexpr size_t kMargin = 4096;
  std::vector<char> room_;
};

void end_launch() {
  if (const std::string found = races::end_launch(); !found.empty()) throw std::runtime_error(found);
}

struct Simt {
  static constexpr int32_t kThreads = 24, kBlocks = 3;  // of a block, of a crew
  static constexpr int64_t kShared = 48 << 10, kCrews = 5, kAtOnce = 8;

  template <class Body>
  static void launch(const Launch& x, int64_t threads, void*) {
    races::begin_launch();
    in_any_order(threads, [&](int64_t thread) {
      races::begin_team(thread);
      races::go_on(0);
      serve<Body>(x, thread, threads);
      races::stand_still();
    });
    end_launch();
  }

  template <class T>
  static Crews crews(Sharing tier, const Training& x, int64_t items) {
    const int32_t threads = int32_t(least<int64_t>(items, kThreads));
    if (tier == Sharing::lanes) return {tier, 1, 0, least(x.trials, kCrews * kThreads), 1};
    if (tier == Sharing::steps) return {tier, threads, 0, 1, kBlocks};
    return {tier, threads, x.room.bytes <= kShared ? x.room.bytes : 0, least(x.trials, kCrews), 1};
  }
  static void send(const std::vector<char>& bytes, char* to, void*) { std::memcpy(to, bytes.data(), bytes.size()); }

  template <class T>
  static void train(const Training& x, const Crews& crews, void*) {
    if (!crews.shared) std::memset(x.rooms, 0xff, size_t(crews.count * x.room.bytes));
    races::begin_launch();
    in_any_order(crews.count, [&](int64_t own) {
      races::begin_team(own);
      if (crews.tier == Sharing::lanes) {
        races::go_on(0);
        train_in_turns<T>(x, Alone{}, own);
        return races::stand_still();
      }
      char* shared = crews.shared ? block_.poisoned(size_t(crews.shared)) : nullptr;
      const int size = crews.threads * crews.blocks;
      fibers.run(size, [&](int rank) { train_in_turns<T>(x, FiberCrew{{rank, size}}, own, shared); }, draw);
    });
    end_launch();
  }

 private:
  static thread_local Shared block_;
};
thread_local Shared Simt::block_;

void run(const Program& program, const Call& call) { Device<Simt>(program, call).run(); }
int32_t fit(const Program& program, const FitCall& fit) {
  DeviceFit<Simt>(program, fit).run();
  return 0;  // steps written as machine code
}
int64_t fit_bytes(const Program& program, const FitCall& fit) { return DeviceFit<Simt>(program, fit).bytes(); }

#if defined(IRK_SEVERE)
constexpr const char* kName = "severe";
#else
constexpr const char* kName = "simt";
#endif
const TargetTable kTable{kName, run, fit, nullptr, Device<Simt>::arenas, launched_tier, fit_bytes};

}  // namespace
}  // namespace irk

const irk::TargetTable* irk_target() { return &irk::kTable; }
