// A training program as a tape: its step list, the update and the check for what is not finite, run once on Traced
// numbers.
#pragma once
#include <optional>

#include "plan/fit_program.h"
#include "run/step_trace.h"
#include "steps/update.h"

namespace irk {

// How far the steps of a program may reach into each buffer.
struct TraceRequest {
  const Program& program;
  const FitCall& fit;
  const int64_t* spans;  // [buffers] elements of one trial
};

class Trace : private StepTrace {
 public:
  explicit Trace(const TraceRequest& request) : StepTrace(request.program, request.fit.call), fit_(request.fit) {
    for (int o = 0; o < program_.n_operands; ++o) seat_operand(kOperands + o, request.spans[kOperands + o]);
    run();
    for (const Tie* tie = fit_.ties; tie < fit_.ties + fit_.n_ties; ++tie)
      for (int64_t i = 0; i < tie->elements; ++i) scratch()[size_t(tie->to + i)] += scratch()[size_t(tie->from + i)];
  }
  Tape tape() {
    TapeRoots roots;
    roots.loss = loss_.id;
    const Traced zero(0);
    std::array<Traced, kChecks> checks{};  // as many sums as a machine keeps going at once
    checks[0] = fma(loss_, zero, zero);
    int64_t n = 0;
    each_element([&](int f, int64_t i) {
      Traced& check = checks[size_t(++n % kChecks)];
      check = fma(gradient(f, i), zero, check);
    });
    for (int half = kChecks / 2; half; half /= 2)
      for (int i = 0; i < half; ++i) checks[size_t(i)] = checks[size_t(i)] + checks[size_t(i + half)];
    roots.check = checks[0].id;
    if (wants_norm(fit_.rule)) each_element([&](int f, int64_t i) { roots.gradients.push_back(gradient(f, i).id); });
    std::vector<Coefficients<Traced>> c;
    for (int32_t group = 0; group < fit_.rule.groups; ++group) c.push_back(traced_coefficients(group));
    each_element([&](int f, int64_t i) { move(c[size_t(fit_.factors[f].group)], f, i, roots); });
    return TapeBuilder(recording_, roots).tape();
  }

 private:
  static constexpr int kChecks = 8;

  Traced gradient(int f, int64_t i) { return scratch()[size_t(fit_.factors[f].gradient_offset + i)]; }

  template <class F>
  void each_element(F f) {
    for (int factor = 0; factor < fit_.n_factors; ++factor)
      for (int64_t i = 0; i < fit_.factors[factor].elements; ++i) f(factor, i);
  }

  void seat_operand(int buffer, int64_t span) {
    const void* data = fit_.call.buffers[buffer];
    int factor = 0;
    while (factor < fit_.n_factors && fit_.factors[factor].data != data) ++factor;
    const bool constant = factor == fit_.n_factors;
    for (int64_t i = 0; i < span; ++i)
      buffers_[size_t(buffer)].push_back(
          Traced::of(recording_.leaf(constant ? LeafKind::constant : LeafKind::factor, constant ? buffer : factor, i)));
  }

  // A coefficient that is 0, 1 or without bound in every trial and step is written into the tape.
  Coefficients<Traced> traced_coefficients(int32_t group) {
    const std::vector<Coefficients<double>> seen = coefficients_of(group);
    int64_t which = 0;
    return each_coefficient<Traced>([&](double Coefficients<double>::*field) {
      const double value = seen[0].*field;
      const bool common = std::all_of(seen.begin(), seen.end(), [&](const auto& each) { return each.*field == value; });
      const bool plain = value == 0 || std::abs(value) == 1 || std::isinf(value);
      const bool clipped = fit_.rule.clip && field == &Coefficients<double>::scale;
      const int64_t index = which++;
      return common && plain && !clipped ? Traced(value)
                                         : Traced::of(recording_.leaf(LeafKind::coefficient, group, index));
    });
  }
  // Of the first two steps of every trial.
  std::vector<Coefficients<double>> coefficients_of(int32_t group) const {
    const int64_t trials = trial_count(program_);
    std::vector<int64_t> step(size_t(fit_.rule.groups * trials));
    std::vector<double> v(step.size());
    Rule rule = fit_.rule;
    rule.step = step.data();
    rule.v = v.data();
    std::vector<Coefficients<double>> seen;
    for (int64_t t = 0; t < trials; ++t) {
      Pace pace;
      pace.begin(rule, group, t, trials);
      for (int i = 0; i < 2; ++i) {
        pace.next(rule.kind, rule.maximize ? -1 : 1, 1);
        seen.push_back(pace.now);
      }
    }
    return seen;
  }

  // One element by steps/update.h.
  void move(const Coefficients<Traced>& c, int f, int64_t i, TapeRoots& roots) {
    const Factor& factor = fit_.factors[f];
    const Traced p = Traced::of(recording_.leaf(LeafKind::factor, f, i)), g = gradient(f, i);
    std::array<Traced, kMoments> moment;
    for (int m = 0; m < kMoments; ++m)
      if (factor.moments[m]) moment[size_t(m)] = Traced::of(moment_leaf(f, m, i));
    Traced after;
    if (!factor.moments[0]) after = descend(c, p, g);
    else if (fit_.rule.kind != RuleKind::adam) after = momentum(c, p, g, moment[0]);
    else after = adam(c, p, g, moment[0], moment[1], factor.moments[2] ? &moment[2] : nullptr);
    for (int m = 0; m < kMoments; ++m)
      if (factor.moments[m]) roots.moves.push_back({moment_leaf(f, m, i), moment[size_t(m)].id});
    roots.moves.push_back({p.id, after.id});
  }
  int32_t moment_leaf(int f, int m, int64_t i) { return recording_.leaf(LeafKind::moment, f * kMoments + m, i); }

  const FitCall& fit_;
};

}  // namespace irk
