// The CPU target: compiled once per instruction set from the same source, threads from the OpenMP pool that torch uses.
#include "targets/contest.h"
#include "targets/target.h"

#include <algorithm>
#include <atomic>
#include <memory>
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

// What a thread of training holds for itself.
template <class T>
struct Member {
  // for_all: the code of everybody who is no part of a team, or null; then this member has its own
  Member(const Program& program, const FitCall& fit, const Shares& shares, const Team& team, const StepCode* for_all, TeamNotes& common)
      : base(size_t(CodePlaces(program, fit).count)), notes(fit) {
    const bool alone = shares.by_trial;
    const int part = alone ? team.rank : 0;
    scratch = static_cast<char*>(fit.call.buffers[kScratch]) + part * program.scratch * int64_t(sizeof(T));
    if (!for_all) for_all = &share.emplace(program, fit, team);
    written = for_all->steps();
    const Team own = alone ? Team{0, 1, nullptr, fit.stop} : Team{team.rank, team.size, team.barrier, fit.stop};
    loop.emplace(program, fit, *for_all, own, alone ? notes : common, part);
  }
  void run(int64_t trial) { loop->run(trial, base.data(), scratch); }

  std::vector<char*> base;
  TeamNotes notes;
  char* scratch;
  std::optional<StepCode> share;
  int32_t written;
  std::optional<Fit<T>> loop;
};

// How many steps of the list were written as machine code.
template <class T>
int32_t fit_trials(const Program& program, const FitCall& fit, const Shares& shares) {
  const int64_t trials = trial_count(program);
  std::atomic<int64_t> next{0};  // trials end at different steps: whoever is free takes the next one
  std::atomic<int32_t> written{0};
  TeamNotes common(fit);
  std::optional<StepCode> code;
  if (shares.by_trial || shares.threads == 1) code.emplace(program, fit, Team{});
  const StepCode* for_all = code ? &*code : nullptr;
  const auto make = [&](const Team& team) { return std::make_unique<Member<T>>(program, fit, shares, team, for_all, common); };
  parallel(shares.threads, make, [&](const Team& team, const std::unique_ptr<Member<T>>& own) {
    if (team.rank == 0) written = own->written;
    if (shares.by_trial)
      for (int64_t t; (t = next.fetch_add(1, std::memory_order_relaxed)) < trials;) own->run(t);
    else
      for (int64_t t = 0; t < trials; ++t) own->run(t);
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
