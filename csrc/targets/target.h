// The face of a target: one shared object, one table of functions, plain data across.
#pragma once
#include "core/platform.h"
#include "plan/fit_program.h"

namespace irk {

struct TargetTable {
  const char* name;
  void (*run)(const Program& program, const Call& call);
  void (*fit)(const Program& program, const FitCall& fit);
};

}  // namespace irk

IRK_EXPORT const irk::TargetTable* irk_target();
