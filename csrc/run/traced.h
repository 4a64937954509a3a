// A number that writes down what is done with it: the templates of steps/, run on Traced, yield the tape of their
// arithmetic. Nothing is rounded here: only identities that hold for every bit pattern are applied (a number that is
// "never -0" may lose + 0).
#pragma once
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <tuple>

#include "core/pack.h"
#include "plan/tape.h"

namespace irk {

class Recording;
inline thread_local Recording* recording = nullptr;  // the one under way

class Recording {
 public:
  struct Node {
    bool leaf;
    Arith op;
    int32_t a, b, c;
    bool fixed;          // no step changes it
    bool never_minus_0;
    int32_t place;       // of a leaf
  };

  // drawn: every step has target values and weights of its own
  explicit Recording(bool wide, bool drawn = false) : wide_(wide), drawn_(drawn) {
    recording = this;
    literal(0);  // node 0: no bits at all
  }
  ~Recording() { recording = nullptr; }
  Recording(const Recording&) = delete;

  bool wide() const { return wide_; }
  const std::vector<Node>& nodes() const { return nodes_; }
  const std::vector<Leaf>& leaves() const { return leaves_; }

  int32_t leaf(LeafKind kind, int32_t which, int64_t index, double value = 0) {
    int64_t bits;
    std::memcpy(&bits, &value, sizeof(bits));  // 0 and -0 differ, a NaN is itself
    const auto key = std::make_tuple(kind, which, index, bits);
    const auto [found, fresh] = leaf_at_.try_emplace(key, int32_t(nodes_.size()));
    if (!fresh) return found->second;
    const bool plus = kind == LeafKind::literal && !std::signbit(value);
    const bool target = kind == LeafKind::value || kind == LeafKind::weight;
    const bool fixed = kind != LeafKind::operand && kind != LeafKind::coefficient && kind != LeafKind::row &&
                       !moves(kind) && !(target && drawn_);
    nodes_.push_back({true, Arith::add, 0, 0, 0, fixed, plus, int32_t(leaves_.size())});
    leaves_.push_back({kind, which, index, value});
    return found->second;
  }
  int32_t literal(double value) { return leaf(LeafKind::literal, 0, 0, value); }

  int32_t add(int32_t a, int32_t b) {
    if (is(a, 0)) std::swap(a, b);
    if (is(a, -0.0)) return b;
    if (is(b, -0.0)) return a;
    if (is(b, 0)) return plus_zero(a);
    if (const Node *x = op_of(a, Arith::add), *y = op_of(b, Arith::add); x && x->b == 0)
      return plus_zero(add(x->a, y && y->b == 0 ? y->a : b));
    else if (y && y->b == 0) return plus_zero(add(a, y->a));
    return make(Arith::add, a, b, 0, never_minus_0(a) || never_minus_0(b));
  }
  int32_t sub(int32_t a, int32_t b) {
    if (is(b, 0)) return a;
    if (a == 0 && is(b, kInfinity)) return literal(-kInfinity);
    return make(Arith::sub, a, b);
  }
  int32_t mul(int32_t a, int32_t b) {
    if (is(a, 1)) return b;
    if (is(b, 1)) return a;
    return make(Arith::mul, a, b, 0, a == b || (never_minus_0(a) && never_minus_0(b) && both_literal(a, b)));
  }
  int32_t div(int32_t a, int32_t b) { return is(b, 1) ? a : make(Arith::div, a, b); }
  int32_t fma(int32_t a, int32_t b, int32_t c) {
    if (is(a, 1)) return add(b, c);
    if (is(b, 1)) return add(a, c);
    if (is(c, -0.0) || (a == b && c == 0)) return mul(a, b);
    return make(Arith::fma, a, without_zero_decay(b, c), c, a == b && never_minus_0(c));
  }
  int32_t root(int32_t a) { return make(Arith::root, a, 0); }
  int32_t least(int32_t a, int32_t b) { return is(a, kInfinity) ? b : make(Arith::least, a, b); }
  int32_t most(int32_t a, int32_t b) { return is(a, -kInfinity) ? b : make(Arith::most, a, b); }
  int32_t both(int32_t a, int32_t b) { return a && b ? make(Arith::both, a, b) : 0; }
  int32_t either(int32_t a, int32_t b) { return !a ? b : !b ? a : make(Arith::either, a, b); }
  int32_t without(int32_t a, int32_t b) { return a ? make(Arith::without, a, b) : b; }
  int32_t less(int32_t a, int32_t b) { return is(a, kInfinity) || is(b, -kInfinity) ? 0 : make(Arith::less, a, b); }
  int32_t at_most(int32_t a, int32_t b) { return make(Arith::at_most, a, b); }
  int32_t unlike(int32_t a, int32_t b) { return make(Arith::unlike, a, b); }

  bool is_literal(int32_t a) const {
    return nodes_[size_t(a)].leaf && leaves_[size_t(nodes_[size_t(a)].place)].kind == LeafKind::literal;
  }
  double literal_of(int32_t a) const { return leaves_[size_t(nodes_[size_t(a)].place)].literal; }

 private:
  static constexpr double kInfinity = std::numeric_limits<double>::infinity();

  bool is(int32_t a, double value) const {
    return is_literal(a) && literal_of(a) == value && std::signbit(literal_of(a)) == std::signbit(value);
  }
  bool both_literal(int32_t a, int32_t b) const { return is_literal(a) && is_literal(b); }
  bool never_minus_0(int32_t a) const { return nodes_[size_t(a)].never_minus_0; }
  const Node* op_of(int32_t a, Arith op) const {
    const Node& node = nodes_[size_t(a)];
    return !node.leaf && node.op == op ? &node : nullptr;
  }
  int32_t plus_zero(int32_t a) { return never_minus_0(a) ? a : make(Arith::add, a, 0, 0, true); }

  // p + rate * (g + 0 * p) is p + rate * g: signs of zeros work out the same for every finite p.
  int32_t without_zero_decay(int32_t direction, int32_t p) {
    const Node* sum = op_of(direction, Arith::add);
    const Node* decay = sum ? op_of(sum->b, Arith::mul) : nullptr;
    return decay && is(decay->a, 0) && decay->b == p ? sum->a : direction;
  }

  int32_t make(Arith op, int32_t a, int32_t b, int32_t c = 0, bool never_minus_0 = false) {
    const auto [found, fresh] =
        op_at_.try_emplace(std::array<int32_t, 4>{int32_t(op), a, b, c}, int32_t(nodes_.size()));
    if (!fresh) return found->second;
    const bool fixed = nodes_[size_t(a)].fixed && nodes_[size_t(b)].fixed && nodes_[size_t(c)].fixed;
    nodes_.push_back({false, op, a, b, c, fixed, never_minus_0, -1});
    return found->second;
  }

  const bool wide_, drawn_;
  std::vector<Node> nodes_;
  std::vector<Leaf> leaves_;
  std::map<std::tuple<LeafKind, int32_t, int64_t, int64_t>, int32_t> leaf_at_;
  std::map<std::array<int32_t, 4>, int32_t> op_at_;
};

struct Traced {
  int32_t id = 0;

  Traced() = default;
  template <class N, class = std::enable_if_t<std::is_arithmetic_v<N>>>
  explicit Traced(N value) : id(recording->literal(double(value))) {}
  static Traced of(int32_t id) {
    Traced x;
    x.id = id;
    return x;
  }
  Traced operator+(Traced o) const { return of(recording->add(id, o.id)); }
  Traced operator-(Traced o) const { return of(recording->sub(id, o.id)); }
  Traced operator*(Traced o) const { return of(recording->mul(id, o.id)); }
  Traced operator/(Traced o) const { return of(recording->div(id, o.id)); }
  Traced& operator+=(Traced o) { return *this = *this + o; }
  static Traced zero() { return Traced(); }
};

inline Traced fma(Traced a, Traced b, Traced c) { return Traced::of(recording->fma(a.id, b.id, c.id)); }
inline Traced sqrt(Traced a) { return Traced::of(recording->root(a.id)); }
inline Traced smaller(Traced a, Traced b) { return Traced::of(recording->least(b.id, a.id)); }
inline Traced larger(Traced a, Traced b) { return Traced::of(recording->most(b.id, a.id)); }

// What steps/loss.h asks of a number.
inline Traced absolute(Traced r) {
  return Traced::of(recording->both(r.id, recording->leaf(LeafKind::magnitude, 0, 0)));
}
inline Traced with_sign(Traced size, Traced r) {
  return Traced::of(recording->either(size.id, recording->both(r.id, recording->leaf(LeafKind::sign, 0, 0))));
}
inline Traced sign_of(Traced r) {  // the magnitude, made larger than 1 unless it is 0, then cut at 1
  const Traced large(recording->wide() ? 0x1p1000 : 0x1p100);
  return with_sign(smaller(absolute(r) * large * large, Traced(1)), r);
}
inline Traced counted(Traced weight, Traced term) {
  if (recording->is_literal(weight.id)) return recording->literal_of(weight.id) == 0 ? Traced() : term;
  return Traced::of(recording->both(recording->unlike(weight.id, 0), term.id));
}
inline Traced some(Traced weights) { return weights + (Traced(1) - counted(weights, Traced(1))); }

// What steps/record.h asks, by way of steps/numbers.h; an answer is all bits or none.
inline Traced less(Traced a, Traced b) { return Traced::of(recording->less(a.id, b.id)); }
inline Traced less_equal(Traced a, Traced b) { return Traced::of(recording->at_most(a.id, b.id)); }
inline Traced unlike(Traced a, Traced b) { return Traced::of(recording->unlike(a.id, b.id)); }
inline Traced operator|(Traced a, Traced b) { return Traced::of(recording->either(a.id, b.id)); }
inline Traced choose(Traced which, Traced a, Traced b) {
  return Traced::of(recording->both(which.id, a.id)) | Traced::of(recording->without(which.id, b.id));
}
inline Traced magnitude(Traced a) { return choose(less(a, Traced(0)), Traced(-1) * a, a); }
inline Traced root(Traced a) { return sqrt(a); }

template <>
struct Pack<Traced> {
  static constexpr int kLanes = 1;
  Traced v;

  static Pack zero() { return {Traced()}; }
  static Pack nothing() { return {Traced(-0.0)}; }
  static Pack load(const Traced* p, int = 1) { return {*p}; }
  void store(Traced* p, int = 1) const { *p = v; }
  Pack operator+(Pack o) const { return {v + o.v}; }
};
template <>
inline Pack<Traced> fma(Pack<Traced> a, Pack<Traced> b, Pack<Traced> c) { return {fma(a.v, b.v, c.v)}; }
template <>
inline void transpose(Pack<Traced>*) {}

}  // namespace irk
