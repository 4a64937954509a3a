// A quadratic penalty on the product beside the loss: ridge ||W||^2, one ridge for each trial.
// Its gradient is that of <W, W'> where W' has the factors' copies for operands and is not trained, pulled back from the
// number 2 ridge. The planner sees one equation of 2n operands and so chooses between forming W and Gram matrices.
#pragma once
#include "plan/plan.h"

namespace irk {

// Appends the penalty's steps to those of the loss, and sums of both gradients; operand i of the penalty is `operands[i]` of
// the loss. The numbers 2 ridge lie in kCotangent, one for each trial.
void add_penalty(Plan& plan, const Plan& penalty, const std::vector<int>& operands);

}  // namespace irk
