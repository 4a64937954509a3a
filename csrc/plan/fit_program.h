// What a native training run is told, as plain data: the step list of one step, the factors and the update rule.
#pragma once
#include "plan/program.h"

namespace irk {

enum class RuleKind : int32_t { sgd, group_rmsprop };

struct Rule {
  RuleKind kind;
  const double* lr;  // [trials]
  double momentum, dampening, weight_decay;
  int32_t nesterov, maximize;
  double alpha, eps;
  double* v;          // [trials] group_rmsprop: running mean of the squared gradient norm
  int64_t* step;      // [trials] updates made so far
  int32_t begun;      // momentum buffers hold something
};

struct Factor {
  void* data;               // [trials, elements]
  void* momentum;           // [trials, elements] or null
  int64_t elements;
  int64_t gradient_offset;  // into the scratch of a trial
};

struct FitCall {
  Call call;
  Rule rule;
  const Factor* factors;
  int32_t n_factors;
  int64_t steps;
  const uint8_t* active;  // [trials]
  int64_t* done;          // [trials] updates made by this call
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
inline Shares share(int64_t work, int64_t trials, int32_t threads, int64_t team_work) {
  if (trials < threads && work >= team_work) return {threads, 0};
  const int64_t useful = work / kShareWork * trials + work % kShareWork * trials / kShareWork + 1;
  const int64_t most = useful < trials ? useful : trials;
  return {most < threads ? int32_t(most < 1 ? 1 : most) : threads, 1};
}

}  // namespace irk
