// A training call as one piece of memory that threads of another machine can read: arrays copied one behind the other, and
// every pointer to plain data of the host replaced by where that data will lie. Addresses of tensors stay as they are.
#pragma once
#include <cstring>
#include <vector>

#include "plan/fit_program.h"
#include "steps/walk.h"

namespace irk {

class Parcel {
 public:
  explicit Parcel(char* base) : base_(base) {}  // where the first byte will lie

  template <class V>
  V* add(const V* data, int64_t n) {
    if (!data || n <= 0) return nullptr;
    const size_t at = (bytes_.size() + kAlign - 1) / kAlign * kAlign;
    bytes_.resize(at + size_t(n) * sizeof(V));
    std::memcpy(bytes_.data() + at, static_cast<const void*>(data), size_t(n) * sizeof(V));
    return reinterpret_cast<V*>(reinterpret_cast<uintptr_t>(base_) + at);
  }
  const std::vector<char>& bytes() const { return bytes_; }

 private:
  static constexpr size_t kAlign = 16;
  char* base_;
  std::vector<char> bytes_;
};

// How many sorted orders of the entries a step list reads.
inline int64_t order_count(const Program& program) {
  int64_t orders = 0;
  for (int s = 0; s < program.n_steps; ++s)
    if (program.steps[s].op == Op::sampled_axpy && program.steps[s].order >= orders) orders = program.steps[s].order + 1;
  return orders;
}

inline Program packed(Parcel& parcel, Program program) {
  int64_t loops = 0;
  for (int s = 0; s < program.n_steps; ++s)
    for (const Span& span : {program.steps[s].outer, program.steps[s].k, program.steps[s].columns})
      if (span.first + span.count > loops) loops = span.first + span.count;
  std::vector<TrialLoop> trials(program.trials, program.trials + program.n_trials);
  for (TrialLoop& trial : trials) trial.strides = parcel.add(trial.strides, kOperands + 2 * program.n_operands);
  program.steps = parcel.add(program.steps, program.n_steps);
  program.loops = parcel.add(program.loops, loops);
  program.trials = parcel.add(trials.data(), program.n_trials);
  program.gathered = nullptr;
  return program;
}

inline Entries packed(Parcel& parcel, Entries entries, int64_t orders) {
  entries.orders = parcel.add(entries.orders, orders);
  return entries;
}

// The buffers of a step list; `one` in place of the host's constant 1.
inline void* const* packed(Parcel& parcel, const Program& program, void* const* given, void* one) {
  std::vector<void*> buffers(given, given + kOperands + 2 * program.n_operands);
  buffers[kOne] = one;
  return parcel.add(buffers.data(), int64_t(buffers.size()));
}

inline const Records* packed(Parcel& parcel, Records records, void* one) {
  std::vector<Sight> sights(records.sights, records.sights + records.n_sights);
  for (Sight& sight : sights) {
    sight.buffers = packed(parcel, sight.program, sight.buffers, one);
    sight.program = packed(parcel, sight.program);
  }
  records.sights = parcel.add(sights.data(), records.n_sights);
  records.numbers = parcel.add(records.numbers, records.n_numbers);
  records.probes = parcel.add(records.probes, records.n_probes);
  return parcel.add(&records, 1);
}

inline const Batches* packed(Parcel& parcel, Batches batches, int64_t steps, int64_t orders) {
  if (batches.entries) {
    std::vector<Entries> entries(batches.entries, batches.entries + steps);
    for (Entries& each : entries) each = packed(parcel, each, orders);
    batches.entries = parcel.add(entries.data(), steps);
  }
  batches.rows = parcel.add(batches.rows, batches.n_rows);
  return parcel.add(&batches, 1);
}

template <class T>
void* packed_one(Parcel& parcel) {
  const T one = 1;
  return parcel.add(&one, 1);
}

inline const FitCall* packed(Parcel& parcel, const Program& program, FitCall fit) {
  const int64_t orders = order_count(program);
  void* one = program.dtype == Dtype::f64 ? packed_one<double>(parcel) : packed_one<float>(parcel);
  fit.call.buffers = packed(parcel, program, fit.call.buffers, one);
  if (fit.call.entries) {
    const Entries entries = packed(parcel, *fit.call.entries, orders);
    fit.call.entries = parcel.add(&entries, 1);
  }
  fit.call.target = parcel.add(fit.call.target, 1);
  fit.factors = parcel.add(fit.factors, fit.n_factors);
  fit.ties = parcel.add(fit.ties, fit.n_ties);
  if (fit.records) fit.records = packed(parcel, *fit.records, one);
  fit.limits = parcel.add(fit.limits, 1);
  if (fit.batches) fit.batches = packed(parcel, *fit.batches, fit.steps + fit.look_back, orders);
  fit.stop = nullptr;  // launches are not interrupted
  return parcel.add(&fit, 1);
}

}  // namespace irk
