// A plan: what one verb does for operands of given shapes and strides, as a step list with every address known.
#pragma once
#include <array>
#include <memory>
#include <string>
#include <vector>

#include "plan/program.h"
#include "plan/tree.h"

namespace irk {

enum class Stage : int32_t {
  value,      // the product (or its listed entries)
  forward,    // the same, keeping what the wanted gradients need
  backward,   // gradients from a cotangent and from what forward kept
  gradients,  // gradients from a cotangent alone
  loss,       // forward of a completion loss: prediction, cotangent of the loss, its value
  train,      // loss and gradients of one training step
  penalty,    // gradients from one number of each trial, left in the scratch as train's are (plan/penalty.h)
  exponent,   // in place of each number of the product, the exponent of the largest that shares its index of the letters that
              // all operands have: 2^e is the size, were it beyond the dtype's range (plan/lower.cpp)
};

inline bool trains(Stage stage) { return stage == Stage::train || stage == Stage::penalty; }

struct PlanRequest {
  std::string equation;
  std::vector<View> operands;
  std::vector<bool> wanted;
  Dtype dtype = Dtype::f32;
  Stage stage = Stage::value;
  int64_t nnz = -1;                    // listed coordinates, -1: dense
  View cotangent;                      // backward, gradients: a dense cotangent's shape and strides
  int64_t trials = 1;                  // in training: trials outside the equation,
  std::vector<int64_t> trial_strides;  //              the operands' strides between them,
  std::vector<bool> constant;          //              and the operands that no trial has for itself
};

struct Matrix {
  Ref ref;
  std::array<int64_t, 2> strides;  // between rows, between columns
};

// A contraction that is a matrix product: extents {rows, columns, depth}, a [rows, depth], b [depth, columns],
// c [rows, columns], and the loops over products side by side.
struct BlasStep {
  int32_t step;
  std::array<int64_t, 3> extents;
  Matrix a, b, c;
  std::vector<Loop> batch;
};

// What the vendor's library does of a plan, and the conversions that are then of no use.
struct Blas {
  std::vector<BlasStep> products;
  std::vector<int32_t> idle;
  bool at_once = false;  // loops over products contain the trials; on cores nothing but products is left then
};

struct Plan {
  Product product;
  Tree tree;
  std::vector<bool> wanted;
  Stage stage;
  Dtype dtype;
  std::vector<Step> steps;
  std::vector<Loop> loops;
  Blas blas, launched_blas;                         // on cores; where kernels are launched
  std::vector<TrialLoop> trial_loops;
  std::vector<std::vector<int64_t>> trial_strides;  // [trial loops][buffers]
  std::vector<std::vector<int>> orders;             // columns of each sorted order that the steps read
  std::vector<int64_t> output_shape;
  std::vector<int64_t> gradient_offsets;            // train: where each wanted gradient lies in the scratch, else -1
  bool gather = false;                              // listed entries come from gathered rows, by plans of blocks of them
  bool scaled = false;                              // deep nodes carry exponents
  int64_t trials = 1;
  int64_t saved = 0, scratch = 0;                   // compute elements of one trial
  int64_t work = 0;                                 // multiply-adds of one trial

  // A target's: the steps written out, once enough trials have been served. Guarded by who calls (the GIL).
  struct Lanes {
    int64_t served = 0;
    bool tried = false;
    std::shared_ptr<const void> traced;
  };
  mutable Lanes lanes;

  // Plans and programs of a whole block and of a shorter last one, and what the steps read of them.
  struct Blocks {
    std::vector<RowsOperand> operands;
    std::shared_ptr<const Plan> value[2], pull[2];
    Program programs[4];
    Gathered gathered{};
  };
  Blocks blocks;

  const Blas& blas_of(bool launched) const { return launched ? launched_blas : blas; }
  bool written_out() const { return !gather && !scaled; }  // whether the steps may be recorded as straight-line code
  Program program() const;
  std::string explain() const;

  // Only shared pointers own a plan. pybind11, out of memory between a pointer and its owner, deletes the pointer: of no effect.
  static void operator delete(void*) noexcept {}
};

std::shared_ptr<const Plan> make_plan(const PlanRequest& request);
// The same for a product that was read before; its operands' strides are the request's.
std::shared_ptr<const Plan> make_plan(const PlanRequest& request, const Product& product);

}  // namespace irk
