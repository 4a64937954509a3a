// Instructions of AVX2 and FMA as bytes (VEX), for code that walks memory: what a small step of training needs. Every
// x86-64 machine with machine code at all has them, so one writer serves those with AVX-512 too.
// Vector registers are numbers 0..15; `lanes` says how many numbers of one an instruction is about.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <vector>

namespace irk {

enum class Gpr : int { rax, rcx, rdx, rsi = 6, rdi, r8, r9, r10, r11 };  // those that a function may change

// [base + bytes], or a constant that is kept behind the code.
struct Memory {
  Gpr base;
  int64_t bytes;
  int constant = -1;

  Memory operator+(int64_t more) const { return {base, bytes + more, constant}; }
};

class Assembler {
 public:
  static constexpr int kBytes = 32;  // of a vector register
  enum Relation : int { kUnordered = 3, kOrderedUnlike = 12 };

  explicit Assembler(bool wide) : wide_(wide) {}

  bool wide() const { return wide_; }
  int64_t element() const { return wide_ ? 8 : 4; }
  int most_lanes() const { return int(kBytes / element()); }
  size_t size() const { return size_; }

  // A vector of equal numbers, or of 32-bit words.
  Memory constant(double value) {
    std::vector<uint8_t> bytes;
    for (int i = 0; i < most_lanes(); ++i) {
      uint8_t number[8];
      const float narrow = float(value);
      std::memcpy(number, wide_ ? static_cast<const void*>(&value) : &narrow, size_t(element()));
      bytes.insert(bytes.end(), number, number + element());
    }
    return keep(bytes);
  }
  // All bits of the first `lanes` numbers, none of the others.
  Memory lane_mask(int lanes) {
    std::vector<uint8_t> bytes(kBytes);
    std::fill_n(bytes.begin(), lanes * element(), uint8_t(255));
    return keep(bytes);
  }

  void align() {
    while (size_ % kBytes) bytes({0xcc});
  }

  // 32-bit numbers for written code to read.
  Memory table(const std::vector<int64_t>& numbers) {
    std::vector<uint8_t> kept(numbers.size() * 4);
    for (size_t i = 0; i < numbers.size(); ++i) {
      const int32_t number = int32_t(numbers[i]);
      sound_ = sound_ && number == numbers[i];
      std::memcpy(kept.data() + 4 * i, &number, 4);
    }
    return keep(kept);
  }

  // Whether all addresses and strides had room in an instruction. If not, what was written must not be run.
  bool sound() const { return sound_; }

  // The code, its constants behind it.
  std::vector<uint8_t> finished() {
    align();
    code_.resize(size_);
    std::vector<size_t> begins;
    for (const auto& each : constants_) {
      begins.push_back(code_.size());
      code_.insert(code_.end(), each.begin(), each.end());
      code_.resize((code_.size() + kBytes - 1) / kBytes * kBytes);
    }
    for (const Patch& patch : patches_) distance(patch.at, begins[size_t(patch.constant)], patch.behind);
    return std::move(code_);
  }

  // d = a op b, of all lanes that a register of this many holds
  void add(int lanes, int d, int a, int b) { vector(k0F, plain(lanes), 0x58, lanes, d, a, b); }
  void add(int lanes, int d, int a, Memory b) { vector(k0F, plain(lanes), 0x58, lanes, d, a, b); }
  void mul(int lanes, int d, int a, int b) { vector(k0F, plain(lanes), 0x59, lanes, d, a, b); }
  void mul(int lanes, int d, int a, Memory b) { vector(k0F, plain(lanes), 0x59, lanes, d, a, b); }
  void sub(int lanes, int d, int a, int b) { vector(k0F, plain(lanes), 0x5c, lanes, d, a, b); }
  void div(int lanes, int d, int a, int b) { vector(k0F, plain(lanes), 0x5e, lanes, d, a, b); }
  void root(int lanes, int d, int a) { vector(k0F, plain(lanes), 0x51, lanes, d, lanes == 1 ? a : 0, a); }
  void least(int lanes, int d, int a, int b) { vector(k0F, plain(lanes), 0x5d, lanes, d, a, b); }  // a < b ? a : b
  void most(int lanes, int d, int a, int b) { vector(k0F, plain(lanes), 0x5f, lanes, d, a, b); }   // a > b ? a : b
  void fma231(int lanes, int d, int a, int b) { vector(k0F38, 1, lanes == 1 ? 0xb9 : 0xb8, lanes, d, a, b, wide_); }
  void fma231(int lanes, int d, int a, Memory b) {  // d = a * b + d
    vector(k0F38, 1, lanes == 1 ? 0xb9 : 0xb8, lanes, d, a, b, wide_);
  }
  void both(int d, int a, int b) { vector(k0F, wide_, 0x54, most_lanes(), d, a, b); }
  // The bits of b that a has not.
  void without(int d, int a, int b) { vector(k0F, wide_, 0x55, most_lanes(), d, a, b); }
  void either(int d, int a, int b) { vector(k0F, wide_, 0x56, most_lanes(), d, a, b); }
  void clear(int d) { vector(k0F, 0, 0x57, 4, d, d, d); }
  void copy(int d, int a) { vector(k0F, wide_, 0x28, most_lanes(), d, 0, a); }
  void compare(Relation relation, int d, int a, int b) {
    vector(k0F, wide_, 0xc2, most_lanes(), d, a, b);
    bytes({relation});
  }
  // The sign bits of a, into eax.
  void signs(int a) { vector(k0F, wide_, 0x50, most_lanes(), 0, 0, a); }

  void broadcast(int d, Memory from) { vector(k0F38, 1, wide_ ? 0x19 : 0x18, most_lanes(), d, 0, from); }

  // Whether so many lanes move without a mask.
  bool moves_whole(int lanes) const { return lanes == 1 || lanes * element() % 16 == 0 || lanes * element() == 8; }
  // The first lanes of d, zeros in the others; mask: a register with lane_mask(lanes) where they do not move whole.
  void load(int lanes, int d, Memory from, int mask = 0) {
    const int64_t size = lanes * element();
    if (lanes == 1) vector(k0F, wide_ ? 3 : 2, 0x10, 1, d, 0, from);
    else if (size == 8) vector(k0F, 3, 0x10, 1, d, 0, from);
    else if (size % 16 == 0) vector(k0F, wide_, 0x10, lanes, d, 0, from);
    else vector(k0F38, 1, wide_ ? 0x2d : 0x2c, most_lanes(), d, mask, from);
  }
  // Part after part: stores under a mask take dozens of cycles on some machines. Changes `spare` and nothing else.
  void store(int lanes, Memory to, int d, int spare) {
    const int half = most_lanes() / 2;
    if (lanes == 2 * half) return vector(k0F, wide_, 0x11, lanes, d, 0, to);
    if (lanes < half) return store_part(lanes, to, d);
    vector(k0F, wide_, 0x11, half, d, 0, to);
    if (lanes == half) return;
    high_half(spare, d);
    store_part(lanes - half, to + 16, spare);
  }

  // xmm d = the upper half of a
  void high_half(int d, int a) {
    vector(k0F3A, 1, 0x19, most_lanes(), a, 0, d);
    bytes({1});
  }
  // The first half of the lanes of xmm a takes those behind it, down to lane 0.  spare: changed
  void fold_half(int d, int spare) {
    if (!wide_) {
      vector(k0F, 0, 0x12, 4, spare, d, d);  // lanes 2, 3
      add(4, d, d, spare);
      vector(k0F, 2, 0x16, 4, spare, 0, d);  // lane 1
    } else {
      vector(k0F, 1, 0x15, 2, spare, d, d);
    }
    add(1, d, d, spare);
  }
  // d = the sums of lanes of a and b that lie `half` apart, in runs of twice as many.  spare: changed
  // Half a register apart: those of a, then those of b. Else so in each half of the register.
  void fold_two(int half, int d, int a, int b, int spare) {
    const int lanes = most_lanes();
    const auto pick = [&](int into, bool second) {
      if (2 * half == lanes) vector(k0F3A, 1, 0x06, lanes, into, a, b);
      else if (wide_) return vector(k0F, 1, second ? 0x15 : 0x14, lanes, into, a, b);
      else vector(k0F, 0, 0xc6, lanes, into, a, b);
      bytes({2 * half == lanes ? (second ? 0x31 : 0x20) : half == 2 ? (second ? 0xee : 0x44) : (second ? 0xdd : 0x88)});
    };
    pick(spare, true);
    pick(d, false);
    add(lanes, d, d, spare);
  }
  // Lane `lane` > 0 of xmm d from memory, the others from a.
  void insert(int lane, int d, int a, Memory from) {
    if (wide_) return vector(k0F, 1, 0x16, 2, d, a, from);
    vector(k0F3A, 1, 0x21, 4, d, a, from, false, 1);
    bytes({lane << 4});
  }
  // The lower half of a register from `low`, the upper one from `high`.
  void join(int d, int low, int high) {
    vector(k0F3A, 1, 0x18, most_lanes(), d, low, high);
    bytes({1});
  }
  void join(int d, int low, Memory high) {
    vector(k0F3A, 1, 0x18, most_lanes(), d, low, high, false, 1);
    bytes({1});
  }
  // Of each half of a register: numbers of a and b in turn, or pairs of narrow ones, from its lower or its upper half.
  void interleave(bool pairs, bool upper, int d, int a, int b) {
    vector(k0F, pairs || wide_, upper ? 0x15 : 0x14, most_lanes(), d, a, b);
  }
  // One lane of xmm d.
  void store_lane(int lane, Memory to, int d) {
    if (lane == 0) return vector(k0F, wide_ ? 3 : 2, 0x11, 1, d, 0, to);
    if (wide_) return vector(k0F, 1, 0x17, 2, d, 0, to);
    vector(k0F3A, 1, 0x17, 4, d, 0, to, false, 1);
    bytes({lane});
  }

  void fetch(Gpr d, Memory from) {  // a 64-bit address
    const int reg = int(d), base = int(from.base);
    bytes({0x48 | (reg >> 3) << 2 | base >> 3, 0x8b});
    address(reg, from, 0);
  }
  void fetch_number(Gpr d, Memory from) {  // of 32 bits
    bytes({0x48 | (int(d) >> 3) << 2 | int(from.base) >> 3, 0x63});
    address(int(d), from, 0);
  }
  void point(Gpr d, Memory constant) {
    bytes({0x48 | (int(d) >> 3) << 2, 0x8d});
    address(int(d), constant, 0);
  }
  void add(Gpr d, Gpr a) {
    bytes({0x48 | (int(a) >> 3) << 2 | int(d) >> 3, 0x01, 0xc0 | (int(a) & 7) << 3 | (int(d) & 7)});
  }
  void copy(Gpr d, Gpr a) {
    bytes({0x48 | (int(a) >> 3) << 2 | int(d) >> 3, 0x89, 0xc0 | (int(a) & 7) << 3 | (int(d) & 7)});
  }
  void add(Gpr d, int64_t number) {
    if (!number) return;
    bytes({0x48 | int(d) >> 3, 0x81, 0xc0 | (int(d) & 7)});
    word(number);
  }
  void set(Gpr d, int32_t number) {
    bytes({0x40 | int(d) >> 3, 0xb8 | (int(d) & 7)});
    word(number);
  }
  // Back to `begin` while a count that falls by one is not 0.
  void repeat(Gpr count, size_t begin) {
    bytes({0x40 | int(count) >> 3, 0xff, 0xc8 | (int(count) & 7), 0x0f, 0x85});
    word(0);
    distance(size_ - 4, begin, size_);
  }
  void leave() { bytes({0xc5, 0xf8, 0x77, 0xc3}); }  // vzeroupper, ret

 private:
  enum Map : int { k0F = 1, k0F38 = 2, k0F3A = 3 };
  struct Patch {
    size_t at;
    int constant;
    size_t behind;  // the end of the instruction
  };

  int plain(int lanes) const { return lanes == 1 ? (wide_ ? 3 : 2) : wide_; }

  // At most half a register, from its first lanes.
  void store_part(int lanes, Memory to, int d) {
    if (lanes == 0) return;
    if (lanes == 1) return store_lane(0, to, d);
    vector(k0F, 3, 0x11, 1, d, 0, to);  // two narrow lanes
    if (lanes == 3) store_lane(2, to + 8, d);
  }

  Memory keep(const std::vector<uint8_t>& bytes) {
    size_t i = 0;
    while (i < constants_.size() && constants_[i] != bytes) ++i;
    if (i == constants_.size()) constants_.push_back(bytes);
    return {Gpr::rax, 0, int(i)};
  }

  void bytes(std::initializer_list<int> list) {
    if (size_ + list.size() > code_.size()) code_.resize(2 * code_.size() + 4096);  // not a byte at a time
    for (const int byte : list) code_[size_++] = uint8_t(byte);
  }
  void word(int64_t number) {
    sound_ = sound_ && number == int32_t(number);
    for (int i = 0; i < 32; i += 8) bytes({int(number >> i & 255)});
  }
  void distance(size_t at, size_t target, size_t from) {
    const uint32_t d = uint32_t(int64_t(target) - int64_t(from));
    for (int i = 0; i < 4; ++i) code_[at + size_t(i)] = uint8_t(d >> (8 * i));
  }

  void prefix(Map map, int pp, uint8_t opcode, int lanes, int reg, int second, int base, bool w) {
    const int tail = (~second & 15) << 3 | (lanes * element() > 16 ? 4 : 0) | pp;
    if (map == k0F && !w && base < 8) bytes({0xc5, (reg < 8 ? 0x80 : 0) | tail});
    else bytes({0xc4, (reg < 8 ? 0x80 : 0) | 0x40 | (base < 8 ? 0x20 : 0) | map, int(w) << 7 | tail});
    bytes({opcode});
  }
  void vector(Map map, int pp, uint8_t opcode, int lanes, int reg, int second, int rm, bool w = false) {
    prefix(map, pp, opcode, lanes, reg, second, rm, w);
    bytes({0xc0 | (reg & 7) << 3 | (rm & 7)});
  }
  // immediate: bytes of the instruction that follow the address
  void vector(Map map, int pp, uint8_t opcode, int lanes, int reg, int second, Memory rm, bool w = false,
              int immediate = 0) {
    prefix(map, pp, opcode, lanes, reg, second, rm.constant < 0 ? int(rm.base) : 0, w);
    address(reg, rm, immediate);
  }
  void address(int reg, Memory m, int immediate) {
    reg = (reg & 7) << 3;
    if (m.constant >= 0) {  // from the next instruction on
      bytes({reg | 5});
      word(0);
      patches_.push_back({size_ - 4, m.constant, size_ + size_t(immediate)});
    } else if (m.bytes >= -128 && m.bytes <= 127) {
      bytes({0x40 | reg | (int(m.base) & 7), int(m.bytes)});
    } else {
      bytes({0x80 | reg | (int(m.base) & 7)});
      word(m.bytes);
    }
  }

  const bool wide_;
  std::vector<uint8_t> code_;
  size_t size_ = 0;  // bytes that are written
  bool sound_ = true;
  std::vector<std::vector<uint8_t>> constants_;
  std::vector<Patch> patches_;
};

}  // namespace irk
