// A training program as a tape: its step list, the update and the check for what is not finite, run once on Traced
// numbers.
#pragma once
#include <optional>

#include "plan/fit_program.h"
#include "run/step_trace.h"
#include "steps/record.h"
#include "steps/update.h"

namespace irk {

// How far the steps of a program may reach into each buffer.
struct TraceRequest {
  const Program& program;
  const FitCall& fit;
  const int64_t* spans;  // [buffers] elements of one trial
};

class Trace {
 public:
  explicit Trace(const TraceRequest& request)
      : program_(request.program),
        fit_(request.fit),
        recording_(program_.dtype == Dtype::f64, fit_.batches != nullptr),
        steps_(program_, fit_.call) {
    for (int b = kOperands; b < kOperands + program_.n_operands; ++b)
      seat(steps_, b, request.spans[b], fit_.call.buffers, has_rows(b) ? LeafKind::row : LeafKind::constant, b);
    if (fit_.call.buffers[kCotangent])  // of the penalty
      steps_.buffer(kCotangent).push_back(Traced::of(recording_.leaf(LeafKind::constant, kCotangent, 0)));
    steps_.run();
    for (const Tie* tie = fit_.ties; tie < fit_.ties + fit_.n_ties; ++tie)
      for (int64_t i = 0; i < tie->elements; ++i) scratch()[size_t(tie->to + i)] += scratch()[size_t(tie->from + i)];
  }
  Tape tape() {
    TapeRoots roots;
    const Traced loss = steps_.loss(), check = checked(loss);
    const Traced alarm = fit_.limits ? beyond(*fit_.limits, loss) : Traced();
    roots.loss = loss.id, roots.check = check.id, roots.alarm = alarm.id, roots.exit = (check | alarm).id;
    if (fit_.records) note_step(*fit_.records, loss, roots);
    if (wants_norm(fit_.rule)) each_element([&](int f, int64_t i) { roots.gradients.push_back(gradient(f, i).id); });
    std::vector<Coefficients<Traced>> c;
    for (int32_t group = 0; group < fit_.rule.groups; ++group) c.push_back(traced_coefficients(group));
    each_element([&](int f, int64_t i) { move(c[size_t(fit_.factors[f].group)], f, i, roots); });
    return TapeBuilder(recording_, roots).tape();
  }

 private:
  static constexpr int kChecks = 8;

  std::vector<Traced>& scratch() { return steps_.scratch(); }
  Traced gradient(int f, int64_t i) { return scratch()[size_t(fit_.factors[f].gradient_offset + i)]; }

  template <class F>
  void each_element(F f) {
    for (int factor = 0; factor < fit_.n_factors; ++factor)
      for (int64_t i = 0; i < fit_.factors[factor].elements; ++i) f(factor, i);
  }

  bool has_rows(int buffer) const {
    const Batches* batches = fit_.batches;
    return batches && std::any_of(batches->rows, batches->rows + batches->n_rows,
                                  [&](const BatchRows& rows) { return rows.buffer == buffer; });
  }
  // An operand's numbers: elements of a factor, or of a part of one; else those of the first trial are `which` of `kind`.
  void seat(StepTrace& steps, int buffer, int64_t span, void* const* buffers, LeafKind kind, int32_t which) {
    const int64_t element = recording_.wide() ? 8 : 4;
    const auto* data = static_cast<const char*>(buffers[buffer]);
    int64_t first = 0;
    for (int f = 0; f < fit_.n_factors; ++f) {
      const int64_t from = data - static_cast<const char*>(fit_.factors[f].data);
      if (from < 0 || from >= fit_.factors[f].elements * element) continue;
      kind = LeafKind::factor, which = f, first = from / element;
    }
    for (int64_t i = 0; i < span; ++i)
      steps.buffer(buffer).push_back(Traced::of(recording_.leaf(kind, which, first + i)));
  }

  // 0, or not a number where the loss or a gradient is not finite.
  Traced checked(Traced loss) {
    const Traced zero(0);
    std::array<Traced, kChecks> checks{};  // as many sums as a machine keeps going at once
    checks[0] = fma(loss, zero, zero);
    int64_t n = 0;
    each_element([&](int f, int64_t i) {
      Traced& check = checks[size_t(++n % kChecks)];
      check = fma(gradient(f, i), zero, check);
    });
    for (int half = kChecks / 2; half; half /= 2)
      for (int i = 0; i < half; ++i) checks[size_t(i)] = checks[size_t(i)] + checks[size_t(i + half)];
    return checks[0];
  }
  static Traced beyond(const Limits& limits, Traced loss) {
    return less(loss, Traced(limits.below)) | less(Traced(limits.above), loss);
  }

  // The probes of one step, and what becomes of their extremes.
  void note_step(const Records& records, Traced loss, TapeRoots& roots) {
    const std::vector<Traced> seen = watched(records);
    std::vector<Traced> square(seen.begin(), seen.begin() + records.order * records.order);
    const Traced det = records.order ? determinant(square.data(), records.order) : Traced();
    Traced value[kNumbers];
    count(records.numbers, records.n_numbers, State<Traced>{loss, seen.data(), det}, value);
    for (int32_t p = 0; p < records.n_probes; ++p) {
      Traced x = value[records.probes[p].number];
      if (const Keep keep = records.probes[p].keep; keep != Keep::value) {
        const int32_t so_far = recording_.leaf(LeafKind::extreme, p, 0);
        x = extreme(keep, Traced::of(so_far), x);
        roots.extremes.push_back({so_far, x.id});
      }
      roots.noted.push_back(x.id);
    }
  }
  // The watched entries of W at the factors as they stand.
  std::vector<Traced> watched(const Records& records) {
    std::vector<Traced> seen;
    for (int32_t v = 0; v < records.n_sights; ++v) {
      const Sight& sight = records.sights[v];
      StepTrace steps(sight.program, Call{});
      for (int b = kOperands; b < kOperands + sight.program.n_operands; ++b)
        seat(steps, b, span_of(sight.program, b), sight.buffers, LeafKind::watched, v * kMaxBuffers + b);
      std::vector<Traced>& output = steps.buffer(kOutput);
      output.resize(size_t(span_of(sight.program, kOutput)));
      steps.run();
      seen.resize(size_t(sight.offset));
      seen.insert(seen.end(), output.begin(), output.end());
    }
    return seen;
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
    else after = adam(c, p, g, moment[0], moment[1], factor.moments[2] != nullptr, moment[2]);
    for (int m = 0; m < kMoments; ++m)
      if (factor.moments[m]) roots.moves.push_back({moment_leaf(f, m, i), moment[size_t(m)].id});
    roots.moves.push_back({p.id, after.id});
  }
  int32_t moment_leaf(int f, int m, int64_t i) { return recording_.leaf(LeafKind::moment, f * kMoments + m, i); }

  const Program& program_;
  const FitCall& fit_;
  Recording recording_;
  StepTrace steps_;
};

}  // namespace irk
