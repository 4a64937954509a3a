// What one step does to the entries of one parameter group, in numbers made once a step and trial, in double.
// Reference: irkernels/reference/rules.py
#pragma once
#include <cmath>

#include "core/platform.h"
#include "plan/fit_program.h"

namespace irk {

// The rules of steps/update.h read these and nothing else; what a rule has no use for has no effect.
template <class V>
struct Coefficients {
  V bound, scale;        // gradients: cut at +-bound, then times scale (clipping by norm, maximize)
  V decay, shrink;       // weight decay: added to the gradient, or taken from the parameter
  V rate;                // p += rate * direction
  V keep, take;          // the first moment:  keep * m + take * g
  V direct, ahead;       // sgd's direction: direct * gradient + ahead * momentum
  V keep2, take2;        // the second moment of adam
  V root, eps;           // adam's denominator: root * sqrt(v) + eps
};

// The same in another number type; read(field) makes one of them.
template <class V, class Read>
IRK_FN inline Coefficients<V> each_coefficient(Read read) {
  using C = Coefficients<double>;
  return {read(&C::bound), read(&C::scale),  read(&C::decay), read(&C::shrink), read(&C::rate), read(&C::keep), read(&C::take),
          read(&C::direct), read(&C::ahead), read(&C::keep2), read(&C::take2), read(&C::root), read(&C::eps)};
}

// beta^t for t = start + 1, start + 2, ...: a function of t alone, however the steps are cut into calls.
class Power {
 public:
  IRK_FN void begin(double beta, int64_t t) {
    beta_ = beta;
    t_ = t;
    value_ = raised(t - t % kAnew);
    for (int64_t i = 0; i < t % kAnew; ++i) value_ *= beta_;
  }
  IRK_FN double next() {
    ++t_;
    value_ = t_ % kAnew ? value_ * beta_ : raised(t_);
    return value_;
  }

 private:
  static constexpr int64_t kAnew = 256;  // products in between, for raising takes longer than a small trial's step
  IRK_FN double raised(int64_t n) const {
    double result = 1;
    for (double square = beta_; n; n >>= 1, square *= square)
      if (n & 1) result *= square;
    return result;
  }

  double beta_ = 0, value_ = 0;
  int64_t t_ = 0;
};

// One trial's way through one parameter group.
class Pace {
 public:
  Coefficients<double> now{};

  IRK_FN void begin(const Rule& rule, int32_t group, int64_t trial, int64_t trials) {
    const auto hyper = [&](Hyper which) { return rule.hyper[(group * kHypers + which) * trials + trial]; };
    rate_ = hyper(kRate);
    eps_ = hyper(kEps);
    const double decay = hyper(kWeightDecay), momentum = hyper(kMomentum);
    now.bound = rule.clip_value ? rule.clip_value[trial] : HUGE_VAL;
    now.decay = rule.decoupled ? 0 : decay;
    now.shrink = rule.decoupled ? 1 - rate_ * decay : 1;
    now.direct = rule.nesterov ? 1 : 0;
    now.ahead = rule.nesterov ? momentum : 1;
    step_ = rule.step + group * trials + trial;
    if (rule.kind == RuleKind::adam) {
      now.keep = hyper(kBeta1), now.take = 1 - now.keep;
      now.keep2 = hyper(kBeta2), now.take2 = 1 - now.keep2;
      now.eps = eps_;
      first_.begin(now.keep, *step_);
      second_.begin(now.keep2, *step_);
    } else if (rule.kind == RuleKind::group_rmsprop) {
      alpha_ = hyper(kAlpha);
      v_ = rule.v + group * trials + trial;
      first_.begin(alpha_, *step_);
    } else {
      now.rate = -rate_;
      fresh_ = momentum == 0 ? 1 : 1 - hyper(kDampening);  // without momentum torch does not dampen
      momentum_ = momentum;
    }
  }

  // On to the next step; scale: what clipping and maximize make of the gradients, square: their squared norm before.
  IRK_FN void next(RuleKind kind, double scale, double square) {
    now.scale = scale;
    if (kind == RuleKind::adam) {
      now.rate = -rate_ / (1 - first_.next());
      now.root = 1 / std::sqrt(1 - second_.next());
    } else if (kind == RuleKind::group_rmsprop) {
      *v_ = alpha_ * *v_ + (1 - alpha_) * (scale * scale * square);
      now.rate = -rate_ / (std::sqrt(*v_ / (1 - first_.next())) + eps_);
    } else {
      now.keep = *step_ ? momentum_ : 0;  // the first step's velocity is its gradient
      now.take = *step_ ? fresh_ : 1;
    }
    ++*step_;
  }

 private:
  double rate_ = 0, eps_ = 0, alpha_ = 0, momentum_ = 0, fresh_ = 1;
  Power first_, second_;
  int64_t* step_ = nullptr;
  double* v_ = nullptr;
};

// torch.nn.utils.clip_grad_norm_: what gradients of this squared norm are multiplied by.
IRK_FN inline double clip_scale(double most, double square) {
  const double scale = most / (std::sqrt(square) + 1e-6);
  return scale < 1 ? scale : 1;
}

}  // namespace irk
