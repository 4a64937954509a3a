// The CPU target: compiled once per instruction set from the same source, threads from the OpenMP pool that torch uses.
#include "targets/contest.h"
#include "targets/target.h"

#include <algorithm>
#include <atomic>
#include <optional>
#include <vector>

#include "run/fit.h"
#include "targets/lanes.h"

#ifndef IRK_TARGET_NAME
#error "setup.py names the target"
#endif

namespace irk {
namespace {

void run(const Program& program, const Call& call) {
  const Shares shares = share(program.work, call.last_trial - call.first_trial, call.threads, kTeamWork);
  with_compute_type(program.dtype, [&](auto zero) {
    using T = decltype(zero);
    parallel(shares.threads, [&](const Team& team) { sweep<T>(program, call, team, shares.by_trial); });
  });
}

Rest rest;          // of all calls of the process
Contests contests;

std::chrono::nanoseconds now() { return std::chrono::steady_clock::now().time_since_epoch(); }

// How many steps of the list were written as machine code.
template <class T>
int32_t fit_trials(const Program& program, const FitCall& fit, const Shares& shares) {
  const int64_t trials = trial_count(program);
  std::atomic<int64_t> next{0};  // trials end at different steps: whoever is free takes the next one
  TeamNotes common(fit);
  std::optional<StepCode> for_all;
  if (shares.by_trial || shares.threads == 1) for_all.emplace(program, fit, Team{});
  int32_t written = for_all ? for_all->steps() : 0;
  parallel(shares.threads, [&](const Team& team) {
    std::vector<char*> base(size_t(CodePlaces(program, fit).count));
    const Team alone{0, 1, nullptr, fit.stop};
    const Team together{team.rank, team.size, team.barrier, fit.stop};
    TeamNotes own(fit);
    std::optional<StepCode> share;
    if (!for_all) share.emplace(program, fit, team);
    if (share && team.rank == 0) written = share->steps();
    const int part = shares.by_trial ? team.rank : 0;
    char* scratch = static_cast<char*>(fit.call.buffers[kScratch]) + part * program.scratch * int64_t(sizeof(T));
    Fit<T> loop(program, fit, for_all ? *for_all : *share, shares.by_trial ? alone : together, shares.by_trial ? own : common, part);
    if (shares.by_trial)
      for (int64_t t; (t = next.fetch_add(1, std::memory_order_relaxed)) < trials;) loop.run(t, base.data(), scratch);
    else
      for (int64_t t = 0; t < trials; ++t) loop.run(t, base.data(), scratch);
  });
  if (!shares.by_trial && shares.threads > 1) rest.after(common.alone);
  return written;
}

int32_t fit(const Program& program, const FitCall& fit) {
  const int64_t active = std::max<int64_t>(1, std::count(fit.active, fit.active + trial_count(program), true));
  Shares shares = share(program.work, active, fit.call.threads, kTeamTraining, fit.sharing);
  const bool could = !shares.by_trial && shares.threads > 1 && fit.sharing == Sharing::cheapest;
  Contest* const contest = could && fit.steps > 0 ? &contests.of(program.work) : nullptr;
  const auto began = now();
  if (!shares.by_trial && (!rest.over() || (contest && !contest->for_team(began)))) shares.threads = 1;
  int32_t written = 0;
  with_compute_type(program.dtype, [&](auto zero) { written = fit_trials<decltype(zero)>(program, fit, shares); });
  if (contest) contest->took(shares.threads > 1, began, now(), fit.steps * active);
  return written;
}

int64_t arenas(const Program& program, int64_t trials, int32_t threads, Sharing asked) {
  const Shares shares = share(program.work, trials, threads, kTeamTraining, asked);  // the most: a call makes a team of no fewer
  return shares.by_trial ? shares.threads : 1;
}

const TargetTable kTable{IRK_TARGET_NAME, run, fit, &kLanes, arenas, nullptr, nullptr};

}  // namespace
}  // namespace irk

const irk::TargetTable* irk_target() { return &irk::kTable; }
