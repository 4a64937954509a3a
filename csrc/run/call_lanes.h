// A small dense product, or its gradients, for many trials: the call's steps written out, then run with a trial in each
// lane.
#pragma once
#include "run/step_trace.h"
#include "run/traced_step.h"
#include "team/team.h"

namespace irk {

constexpr int64_t kCallBytes = 32768;  // numbers of one pack, on the stack

// A number of the tape and the element of a buffer that it is.
struct Port {
  int32_t buffer;
  int64_t index;
  int32_t number;
};

class CallTrace {
 public:
  CallTrace(const Program& program, const Call& call)
      : recording_(program.dtype == Dtype::f64),
        steps_(program, call),
        made_(size_t(kOperands + 2 * program.n_operands)) {
    for (const Step* step = program.steps; step < program.steps + program.n_steps; ++step)
      made_[size_t(step->c.buffer)] = true;
    for (int b = 0; b < int(made_.size()); ++b) {
      if (b == kScratch || b == kOne) continue;
      const int64_t span = span_of(program, b);
      steps_.buffer(b).assign(size_t(span), Traced::of(kUntouched));
      for (int64_t i = 0; i < span && !made_[size_t(b)]; ++i)
        steps_.buffer(b)[size_t(i)] = Traced::of(recording_.leaf(LeafKind::operand, b, i));
    }
    steps_.run();
  }

  Tape tape(std::vector<Port>& results) {
    TapeRoots roots;
    roots.training = false;
    for (int b = 0; b < int(made_.size()); ++b)
      for (int64_t i = 0; made_[size_t(b)] && b != kScratch && i < int64_t(steps_.buffer(b).size()); ++i) {
        const int32_t id = steps_.buffer(b)[size_t(i)].id;
        if (id == kUntouched) continue;
        roots.gradients.push_back(id);
        results.push_back({b, i, 0});
      }
    Tape tape = TapeBuilder(recording_, roots).tape();
    for (size_t i = 0; i < results.size(); ++i) results[i].number = tape.gradients[i];
    return tape;
  }

 private:
  static constexpr int32_t kUntouched = -1;

  Recording recording_;
  StepTrace steps_;
  std::vector<char> made_;  // [buffers] written by some step
};

class TracedCall {
 public:
  TracedCall(const Program& program, const Call& call)
      : tape_(CallTrace(program, call).tape(results_)), wide_(program.dtype == Dtype::f64) {
    for (size_t i = 0; i < tape_.leaves.size(); ++i)
      if (const Leaf& leaf = tape_.leaves[i]; leaf.kind == LeafKind::operand)
        operands_.push_back({leaf.which, leaf.index, int32_t(i)});
    const TapeRange range{tape_.step.data(), tape_.step.data() + tape_.step.size(), tape_.kept};
    const int lanes = int(IRK_VECTOR_BYTES / (wide_ ? 8 : 4));
    code_ = wide_ ? MachineCode::of<double>(range, lanes) : MachineCode::of<float>(range, lanes);
  }

  bool usable() const { return code_ && tape_.once.empty() && tape_.numbers * IRK_VECTOR_BYTES <= kCallBytes; }

  template <class T>
  void run(const Program& program, const Call& call, const Team& team) const {
    constexpr int64_t W = Pack<T>::kLanes;
    alignas(64) char memory[kCallBytes];
    T* x = reinterpret_cast<T*>(memory);
    for (size_t i = 0; i < tape_.leaves.size(); ++i)
      if (tape_.leaves[i].kind == LeafKind::literal) std::fill_n(x + int64_t(i) * W, W, T(tape_.leaves[i].literal));
    const int64_t trials = call.last_trial - call.first_trial, packs = (trials + W - 1) / W;
    for (int64_t pack = team.begin(packs); pack < team.end(packs); ++pack) {
      const int64_t first = call.first_trial + pack * W;
      const int n = int(std::min(W, call.last_trial - first));
      each<T>(operands_, program, call, first, n, [&](const T* of, T& lane) { lane = *of; }, x);
      code_(x, 1);
      each<T>(results_, program, call, first, n, [&](T* of, const T& lane) { *of = lane; }, x);
    }
  }

 private:
  // f(element, number) in every lane for every port; lanes beyond n keep what they hold.
  template <class T, class F>
  static void each(const std::vector<Port>& ports, const Program& program, const Call& call, int64_t first, int n, F f,
                   T* x) {
    constexpr int64_t W = Pack<T>::kLanes;
    T* base[W];
    int32_t seated = -1;
    for (const Port& port : ports) {
      for (int lane = 0; port.buffer != seated && lane < n; ++lane)
        base[lane] = static_cast<T*>(call.buffers[port.buffer]) + trial_offset(program, port.buffer, first + lane);
      seated = port.buffer;
      T* number = x + port.number * W;
      for (int lane = 0; lane < n; ++lane) f(base[lane] + port.index, number[lane]);
    }
  }

  std::vector<Port> results_, operands_;
  const Tape tape_;
  const bool wide_;
  MachineCode code_;
};

}  // namespace irk
