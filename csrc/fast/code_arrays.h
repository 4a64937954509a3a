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

}  // namespace irk
