// Where written code finds its arrays: rdi points to their addresses, those of the buffers first.
#pragma once
#include "fast/assembler.h"
#include "plan/program.h"

namespace irk {

constexpr int64_t kRoom = 4096;  // numbers that written code may lay down for itself

inline Memory address_at(int32_t place) { return {Gpr::rdi, int64_t(place) * 8}; }

inline void fetch_array(Assembler& out, Gpr d, Ref ref) {
  out.fetch(d, address_at(ref.buffer));
  out.add(d, ref.offset * out.element());
}

// Numbers from anywhere into the first lanes of d; at(lane) says where each lies.  spare: changed
template <class At>
void gather_lanes(Assembler& out, int lanes, int d, int spare, At at) {
  const int half = out.most_lanes() / 2;
  const auto gather = [&](int into, int first, int count) {
    out.load(1, into, at(first));
    for (int i = 1; i < count; ++i) out.insert(i, into, into, at(first + i));
  };
  gather(d, 0, std::min(half, lanes));
  if (lanes <= half) return;
  gather(spare, half, lanes - half);
  out.join(d, d, spare);
}

// How many neighbours of each lane transpose_lanes takes.
inline int neighbours(const Assembler& out) { return out.wide() ? 2 : 4; }

// Registers d, d + 1, ..: the first, the second .. of the neighbours that begin at at(lane), those of all lanes side by
// side.  Changes twice as many registers.
template <class At>
void transpose_lanes(Assembler& out, int lanes, int d, At at) {
  const int n = neighbours(out), r = d + n;
  for (int i = 0; i < n; ++i) {  // lanes i and i + n of the squares
    if (i < lanes) out.load(n, r + i, at(i));
    else out.clear(r + i);
    if (i + n < lanes) out.join(r + i, r + i, at(i + n));
  }
  if (out.wide()) {
    for (int k = 0; k < 2; ++k) out.interleave(false, k, d + k, r, r + 1);
    return;
  }
  for (int k = 0; k < 4; k += 2) {
    out.interleave(false, k / 2, d + k, r, r + 1);
    out.interleave(false, k / 2, d + k + 1, r + 2, r + 3);
  }
  for (int k = 0; k < 4; k += 2) {
    out.interleave(true, true, r, d + k, d + k + 1);
    out.interleave(true, false, d + k, d + k, d + k + 1);
    out.copy(d + k + 1, r);
  }
}

}  // namespace irk
