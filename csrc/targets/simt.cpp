// The kernels of targets/cuda.cu on the host: the threads of a launch one after the other, in an order drawn for each launch.
// What comes out must not depend on it, for a step's threads never wait for one another.
#include <numeric>
#include <random>

#include "targets/device.h"
#include "targets/target.h"

namespace irk {
namespace {

struct Simt {
  template <class Body>
  static void launch(const Launch& x, int64_t threads, void*) {
    thread_local std::mt19937_64 draw(20261123);
    const auto below = [](int64_t n) { return int64_t(draw() % uint64_t(n)); };
    int64_t stride = below(threads) + 1, thread = below(threads);
    while (std::gcd(stride, threads) != 1) ++stride;  // then all threads are met
    for (int64_t i = 0; i < threads; ++i) {
      serve<Body>(x, thread, threads);
      thread = (thread + stride) % threads;
    }
  }
};

void run(const Program& program, const Call& call) { Device<Simt>(program, call).run(); }

const TargetTable kTable{"simt", run, nullptr, nullptr, Device<Simt>::arenas};

}  // namespace
}  // namespace irk

const irk::TargetTable* irk_target() { return &irk::kTable; }
