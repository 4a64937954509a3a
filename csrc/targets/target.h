// The face of a target: one shared object, one table of functions, plain data across.
#pragma once
#include "core/platform.h"
#include "plan/fit_program.h"

namespace irk {

struct TargetTable {
  const char* name;
  void (*run)(const Program& program, const Call& call);
  void (*fit)(const Program& program, const FitCall& fit);  // null where there is no native training
  int64_t (*arenas)(const Program& program, int64_t trials, int32_t threads);  // scratches in use at the same time
};

}  // namespace irk

IRK_EXPORT const irk::TargetTable* irk_target();
