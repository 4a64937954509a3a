// The face of a target: one shared object, one table of functions, plain data across.
#pragma once
#include "core/platform.h"
#include "plan/fit_program.h"

namespace irk {

// Training with a trial in each lane. A traced step belongs to the target that made it.
struct LanesTable {
  const void* (*trace)(const Program& program, const FitCall& fit, const int64_t* spans);  // spans: elements of a trial in each buffer
  void (*forget)(const void* traced);
  int64_t (*length)(const void* traced);  // operations of a step
  int32_t (*compiled)(const void* traced);  // whether they are machine code
  int32_t (*compiles)();                    // whether they would be
  int64_t vector_bytes;
  int64_t (*bytes)(const void* traced, int64_t trials, int32_t threads);  // of the workspace of a call
  int64_t (*held)(const void* traced);                                    // of the traced step itself,
  int64_t (*code)(const void* traced);                                    // and what of these is machine code
  void (*fit)(const void* traced, const Program& program, const FitCall& fit);
  // The same for calls of a plan, dense and in a compute type; null where the steps are better taken as they are.
  const void* (*trace_call)(const Program& program, const Call& call);
  void (*forget_call)(const void* traced);
  void (*run)(const void* traced, const Program& program, const Call& call);
};

struct TargetTable {
  const char* name;
  void (*run)(const Program& program, const Call& call);
  // How many steps of the list were machine code; null where there is no native training (the CUDA target, so far).
  int32_t (*fit)(const Program& program, const FitCall& fit);
  const LanesTable* lanes;  // null where there are none
  int64_t (*arenas)(const Program& program, int64_t trials, int32_t threads, Sharing asked);  // scratches in use at the same time
  // Where threads come by the launch, else null: who would take the trials, and the bytes of the workspace of a call.
  Sharing (*tier)(const Program& program, int64_t trials, Sharing asked);
  int64_t (*fit_bytes)(const Program& program, const FitCall& fit);
};

}  // namespace irk

IRK_EXPORT const irk::TargetTable* irk_target();
