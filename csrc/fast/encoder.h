// Instructions of x86-64 on vectors, as bytes: what a tape needs. Registers are numbers; memory is [rdi + bytes], and
// [rdx + bytes] of the notes.
// With AVX-512 every instruction is EVEX (32 registers), else VEX (16). One lane: the scalar forms.
#pragma once
#include <cstdint>
#include <vector>

namespace irk {

// A register, or a place in memory.
struct Location {
  bool memory;
  int32_t at;  // number of the register, or bytes
  int32_t base = 7;  // rdi
};

class Encoder {
 public:
  Encoder(bool evex, bool wide, int lanes, int bytes) : evex_(evex), wide_(wide), scalar_(lanes == 1), bytes_(bytes) {}

  const std::vector<uint8_t>& code() const { return code_; }
  size_t here() const { return code_.size(); }

  // d = a op b; the second operand may lie in memory
  void add(int d, int a, Location b) { arithmetic(0x58, d, a, b); }
  void mul(int d, int a, Location b) { arithmetic(0x59, d, a, b); }
  void sub(int d, int a, Location b) { arithmetic(0x5c, d, a, b); }
  void least(int d, int a, Location b) { arithmetic(0x5d, d, a, b); }
  void div(int d, int a, Location b) { arithmetic(0x5e, d, a, b); }
  void most(int d, int a, Location b) { arithmetic(0x5f, d, a, b); }
  void root(int d, Location a) { arithmetic(0x51, d, scalar_ && !a.memory ? a.at : scalar_ ? d : kNone, a); }
  void both(int d, int a, int b) { vector(kMap0F, wide_ ? 1 : 0, 0x54, d, a, {false, b}); }
  void either(int d, int a, int b) { vector(kMap0F, wide_ ? 1 : 0, 0x56, d, a, {false, b}); }
  void without(int d, int a, int b) { vector(kMap0F, wide_ ? 1 : 0, 0x55, d, a, {false, b}); }

  // All bits of d where the relation holds, else none; the second operand may lie in memory.
  enum Relation : int { kLess = 0x11, kAtMost = 0x12, kUnlike = 4 };
  void compare(Relation relation, int d, int a, Location b) {
    arithmetic(0xc2, evex_ ? 1 : d, a, b);
    bytes({relation});
    if (!evex_) return;
    vector(kMap0F3A, 1, 0x25, d, d, {false, d}, 0x81);  // ones where k1 says so, zeros elsewhere
    bytes({0xff});
  }

  void fma231(int d, int a, Location b) { vector(kMap0F38, 1, scalar_ ? 0xb9 : 0xb8, d, a, b); }  // d = a * b + d
  void fma213(int d, int a, Location b) { vector(kMap0F38, 1, scalar_ ? 0xa9 : 0xa8, d, a, b); }  // d = a * d + b
  void fma132(int d, int a, Location b) { vector(kMap0F38, 1, scalar_ ? 0x99 : 0x98, d, a, b); }  // d = d * b + a

  void load(int d, int32_t bytes) { vector(kMap0F, move_prefix(), 0x10, d, kNone, {true, bytes}); }
  void store(int32_t bytes, int d) { vector(kMap0F, move_prefix(), 0x11, d, kNone, {true, bytes}); }
  void note(int32_t bytes, int d) { vector(kMap0F, move_prefix(), 0x11, d, kNone, {true, bytes, 2}); }
  void next_note(int32_t bytes_each) {  // rdx += bytes_each
    bytes({0x48, 0x81, 0xc2, bytes_each & 255, bytes_each >> 8 & 255, bytes_each >> 16 & 255, bytes_each >> 24 & 255});
  }
  void copy(int d, int a) { vector(kMap0F, wide_ ? 1 : 0, 0x28, d, kNone, {false, a}); }

  // Jumps where some lane is not a number; returns where to patch the distance.
  size_t jump_if_nan(int a) {
    if (scalar_) {
      vector(kMap0F, wide_ ? 1 : 0, 0x2e, a, kNone, {false, a});
      return jump({0x0f, 0x8a});
    }
    if (evex_) {  // unordered -> k1, tested
      vector(kMap0F, wide_ ? 1 : 0, 0xc2, 1, a, {false, a});
      bytes({3, 0xc5, 0xf8, 0x98, 0xc9});
    } else {  // unordered -> the scratch register that is never handed out, its signs -> ecx
      vector(kMap0F, wide_ ? 1 : 0, 0xc2, kScratch, a, {false, a});
      bytes({3});
      vector(kMap0F, wide_ ? 1 : 0, 0x50, 1, kNone, {false, kScratch});
      bytes({0x85, 0xc9});
    }
    return jump({0x0f, 0x85});
  }

  // for (rax = 0; rax < rsi; ++rax) { ... }
  size_t begin_loop() {
    bytes({0x48, 0x85, 0xf6});
    return jump({0x0f, 0x8e});
  }
  void clear_count() { bytes({0x31, 0xc0}); }
  void end_loop(size_t begin) {
    bytes({0x48, 0xff, 0xc0, 0x48, 0x39, 0xf0});
    patch_to(jump({0x0f, 0x8c}), begin);
  }
  void leave() { bytes({0xc5, 0xf8, 0x77, 0xc3}); }  // vzeroupper, ret

  void patch_to(size_t jump, size_t target) {
    const int32_t distance = int32_t(target) - int32_t(jump + 4);
    for (int i = 0; i < 4; ++i) code_[jump + size_t(i)] = uint8_t(uint32_t(distance) >> (8 * i));
  }

  static constexpr int kScratch = 15;  // of AVX2: taken by jump_if_nan

 private:
  enum Map : int { kMap0F = 1, kMap0F38 = 2, kMap0F3A = 3 };
  static constexpr int kNone = 0;  // an operand that a form lacks is encoded as zeros, inverted

  int move_prefix() const { return scalar_ ? (wide_ ? 3 : 2) : (wide_ ? 1 : 0); }
  void arithmetic(uint8_t opcode, int d, int a, Location b) { vector(kMap0F, move_prefix(), opcode, d, a, b); }

  void bytes(std::initializer_list<int> list) {
    for (const int byte : list) code_.push_back(uint8_t(byte));
  }
  size_t jump(std::initializer_list<int> opcode) {
    bytes(opcode);
    bytes({0, 0, 0, 0});
    return code_.size() - 4;
  }

  // masking: of EVEX
  void vector(Map map, int prefix, uint8_t opcode, int reg, int second, Location rm, int masking = 0) {
    const int length = scalar_ ? 0 : bytes_ == 64 ? 2 : bytes_ == 32 ? 1 : 0;
    const int base = rm.memory ? 0 : rm.at;  // neither rdi nor rdx has a fourth bit
    const auto inverted = [](int bit) { return bit ? 0 : 1; };
    if (evex_) {
      bytes(
          {0x62,
           inverted(reg & 8) << 7 | inverted(base & 16) << 6 | inverted(base & 8) << 5 | inverted(reg & 16) << 4 | map,
           int(wide_) << 7 | (~second & 15) << 3 | 4 | prefix, length << 5 | inverted(second & 16) << 3 | masking});
    } else {
      bytes({0xc4, inverted(reg & 8) << 7 | 1 << 6 | inverted(base & 8) << 5 | map,
             int(wide_) << 7 | (~second & 15) << 3 | (length ? 4 : 0) | prefix});
    }
    bytes({opcode});
    if (!rm.memory) return bytes({0xc0 | (reg & 7) << 3 | (rm.at & 7)});
    const int unit = !evex_ ? 1 : scalar_ ? (wide_ ? 8 : 4) : bytes_;  // of EVEX's short displacements
    const int modrm = (reg & 7) << 3 | rm.base;
    if (rm.at % unit == 0 && rm.at / unit <= 127) return bytes({0x40 | modrm, rm.at / unit});
    bytes({0x80 | modrm, rm.at & 255, rm.at >> 8 & 255, rm.at >> 16 & 255, rm.at >> 24 & 255});
  }

  const bool evex_, wide_, scalar_;
  const int bytes_;
  std::vector<uint8_t> code_;
};

}  // namespace irk
