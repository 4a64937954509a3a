// What the binding holds for the whole process: how tensors are read, what surrounds a call, the kernel targets, the plans
// made so far.
#pragma once
#include "bind/blas.h"
#include "bind/plan_cache.h"
#include "bind/surroundings.h"
#include "bind/targets.h"
#include "bind/tensor.h"

namespace irk {

constexpr int64_t kStackScratch = 16384;  // bytes of scratch that live on the stack
constexpr int64_t kReleaseWork = 20000;   // multiply-adds from which a call lets go of the GIL

inline Framework framework;
inline Surroundings surroundings;
inline Targets targets;
inline PlanCache cache;

}  // namespace irk
