// Packs of trials shared over threads.
#pragma once
#include <memory>

#include "run/call_lanes.h"
#include "run/lanes.h"
#include "run/trace.h"
#include "targets/parallel.h"
#include "targets/target.h"

namespace irk {
namespace {

constexpr int64_t kLaneShare = 100000;  // operations on packs worth one more thread
constexpr int64_t kLaneGain = 8;        // how many times less a multiply-add takes in lanes

const void* trace_step(const Program& program, const FitCall& fit, const int64_t* spans) {
  return new TracedStep(Trace({program, fit, spans}).tape(), fit, program.dtype == Dtype::f64,
                        trial_count(program) == 1);
}
void forget_step(const void* traced) { delete static_cast<const TracedStep*>(traced); }
int64_t step_length(const void* traced) { return int64_t(static_cast<const TracedStep*>(traced)->tape.step.size()); }
int32_t step_compiled(const void* traced) { return static_cast<const TracedStep*>(traced)->compiled(); }
int32_t compiles() { return MachineCode::possible(); }

int64_t packs_of(const TracedStep& step, int64_t trials) { return (trials + step.lanes() - 1) / step.lanes(); }
int64_t lanes_bytes(const void* traced, int64_t trials, int32_t threads) {
  const auto& step = *static_cast<const TracedStep*>(traced);
  return std::min<int64_t>(packs_of(step, trials), threads) * step.bytes();
}

int64_t held_bytes(const void* traced) { return static_cast<const TracedStep*>(traced)->held_bytes(); }
int64_t code_bytes(const void* traced) { return static_cast<const TracedStep*>(traced)->code_bytes(); }

template <class T>
void fit_packs(const TracedStep& step, const Program& program, const FitCall& fit, const std::vector<int64_t>& active) {
  const int64_t packs = packs_of(step, int64_t(active.size()));
  const int64_t work = int64_t(step.tape.step.size()) * std::min(fit.steps, kLaneShare) * packs;
  const int32_t threads =
      int32_t(std::max<int64_t>(1, std::min({int64_t(fit.call.threads), packs, work / kLaneShare})));
  const auto scratch = [&](const Team& team) {
    return reinterpret_cast<T*>(static_cast<char*>(fit.call.buffers[kScratch]) + team.rank * step.bytes());
  };
  if (step.single) return Lanes<T, T>(step, program, fit, scratch({}), 0).run(active.data(), 1);
  using OfMember = Lanes<T, Pack<T>>;
  const auto make = [&](const Team& team) { return std::make_unique<OfMember>(step, program, fit, scratch(team), team.rank); };
  parallel(threads, make, [&](const Team& team, const std::unique_ptr<OfMember>& lanes) {
    for (int64_t pack = team.begin(packs); pack < team.end(packs); ++pack) {
      const int64_t first = pack * step.lanes();
      lanes->run(active.data() + first, int(std::min(step.lanes(), int64_t(active.size()) - first)));
    }
  });
}

void fit_lanes(const void* traced, const Program& program, const FitCall& fit) {
  std::vector<int64_t> active;
  for (int64_t t = 0; t < trial_count(program); ++t)
    if (fit.active[t]) active.push_back(t);
  if (active.empty()) return;
  with_compute_type(program.dtype, [&](auto zero) {
    fit_packs<decltype(zero)>(*static_cast<const TracedStep*>(traced), program, fit, active);
  });
}

const void* trace_call(const Program& program, const Call& call) {
  auto traced = std::make_unique<TracedCall>(program, call);
  return traced->usable() ? traced.release() : nullptr;
}
void forget_call(const void* traced) { delete static_cast<const TracedCall*>(traced); }

void run_call(const void* traced, const Program& program, const Call& call) {
  const Shares shares =
      share(program.work / kLaneGain + 1, call.last_trial - call.first_trial, call.threads, kTeamWork);
  with_compute_type(program.dtype, [&](auto zero) {
    parallel(shares.threads, [&](const Team& team) {
      static_cast<const TracedCall*>(traced)->run<decltype(zero)>(program, call, team);
    });
  });
}

const LanesTable kLanes{trace_step,  forget_step, step_length, step_compiled, compiles, IRK_VECTOR_BYTES,
                        lanes_bytes, held_bytes,  code_bytes,  fit_lanes,     trace_call, forget_call, run_call};

}  // namespace
}  // namespace irk
