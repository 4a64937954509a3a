// What a native training run is told, as plain data: the step list of one step, the factors and the update rule.
#pragma once
#include <atomic>

#include "core/platform.h"
#include "plan/program.h"
#include "plan/records.h"

namespace irk {

enum class RuleKind : int32_t { sgd, adam, group_rmsprop };

// What every trial and every parameter group has for itself. Python's HYPERS, in this order.
enum Hyper : int32_t { kRate, kMomentum, kDampening, kWeightDecay, kBeta1, kBeta2, kAlpha, kEps, kHypers };

struct Rule {
  RuleKind kind;
  int32_t groups;
  int32_t nesterov, maximize, decoupled;  // of all trials alike; decoupled: weight decay past the moments
  const double* hyper;       // [groups, kHypers, trials]
  const double* clip;        // [trials] largest norm of a trial's gradients, or null
  const double* clip_value;  // [trials] largest magnitude of an entry, or null
  int64_t* step;             // [groups, trials] updates that have made the state
  double* v;                 // [groups, trials] group_rmsprop: running mean of the squared gradient norm
};

IRK_FN inline bool wants_norm(const Rule& rule) { return rule.clip || rule.kind == RuleKind::group_rmsprop; }

constexpr int kMoments = 3;  // sgd: momentum; adam: exp_avg, exp_avg_sq and, with amsgrad, its maximum

struct Factor {
  void* data;               // [trials, elements]
  void* moments[kMoments];  // [trials, elements] each, or null
  int64_t elements;
  int64_t gradient_offset;  // into the scratch of a trial
  int32_t group;
};

// A factor that stands at several operands: the gradient at one of them is added to that of the first.
struct Tie {
  int64_t to, from;  // into the scratch of a trial
  int64_t elements;
};

// A constant operand of which every step has rows of its own.
struct BatchRows {
  int32_t buffer;
  int64_t step;  // elements from one step's rows to the next's
};

// Mini-batches of all steps of a call, drawn before it and shared by all trials.
struct Batches {
  const Entries* entries;               // [steps], or null where the output is dense
  int64_t values_step, weights_step;    // elements from one step's to the next's
  const BatchRows* rows;
  int32_t n_rows;
};

// Who is asked to share a run of training: a thread takes whole trials ("core"), or all take each step of one ("grid"). Where
// threads come by the launch, a block takes them for a thread, and "lanes" is a trial a thread.
enum class Sharing : int32_t { cheapest, trials, steps, lanes };

struct FitCall {
  Call call;
  Rule rule;
  const Factor* factors;
  int32_t n_factors;
  const Tie* ties;
  int32_t n_ties;
  int64_t steps;
  const uint8_t* active;  // [trials]
  int64_t* done;          // [trials] updates made by this call
  int64_t first;          // number of the first step
  int32_t look_back;      // looks at the state after the last step too, without an update
  const Records* records; // or null
  const Limits* limits;   // or null
  Verdict* verdicts;      // [trials] why a trial left, none while it runs
  const Batches* batches; // or null: every step sees all of the data
  Sharing sharing;
  const std::atomic<int>* stop;  // or null; once it is set, trials leave before their update
};

// How a call is shared: whole trials over threads, or every step of each trial over a team of threads.
struct Shares {
  int32_t threads;
  int32_t by_trial;
};

constexpr int64_t kShareWork = 100000;   // multiply-adds worth one more thread
// Multiply-adds of one trial worth a barrier after every step: of a call, and of a step of training, which has more of them.
constexpr int64_t kTeamWork = 500000, kTeamTraining = 500000;

// Own kernels give the same bits either way, so this may look at trials and threads.
inline Shares share(int64_t work, int64_t trials, int32_t threads, int64_t team_work, Sharing asked = Sharing::cheapest) {
  if (asked == Sharing::steps) return {threads, 0};
  if (asked == Sharing::trials) return {trials < threads ? int32_t(trials) : threads, 1};
  if (trials < threads && work >= team_work) return {threads, 0};
  const int64_t useful = work / kShareWork * trials + work % kShareWork * trials / kShareWork + 1;
  const int64_t most = useful < trials ? useful : trials;
  return {most < threads ? int32_t(most < 1 ? 1 : most) : threads, 1};
}

}  // namespace irk
