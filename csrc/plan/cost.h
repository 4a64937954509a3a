// What steps cost, in multiply-adds of a dense contraction (20 ps on the core that was measured). Pure functions of
// sizes, so that a route never depends on the machine, the threads, the strides or the number of trials.
// `python -m bench.routes` measures them: an entry of a sampled sweep took 1.6 ns at depth 16, 1.9 at 32, 2.7 at 64 and
// 3.8 at 128, an entry read from a dense product in the first cache or written to its cotangent 1.4.
#pragma once

namespace irk {

constexpr double kWrite = 4;            // writing one element of an intermediate
constexpr double kSampledWork = 1;      // one multiply-add of a sampled sweep: the mean of one dot and two axpys
constexpr double kSampledEntry = 65;    // one entry of it: coordinates, reduction, loss
constexpr double kRead = 70;            // one entry read from a dense product, or written to its cotangent
constexpr double kGathered = 200;       // one number of a gathered row: read, written, read again, its gradient scattered

constexpr double kFoldedOnce = 1e-3;    // of two constants in training: what one contraction costs when so many steps share it

}  // namespace irk
