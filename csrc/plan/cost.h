// What steps cost, in multiply-adds of a dense contraction. Pure functions of sizes, so that a route never depends on
// the machine, the threads, the strides or the number of trials. `python -m bench.routes` measures them; the sampled ones are
// the mean of one dot and two axpys, kRead is for a product in the first cache (290 where every read misses it).
#pragma once

namespace irk {

constexpr double kWrite = 4;            // writing one element of an intermediate
constexpr double kSampledWork = 2.7;    // one multiply-add of a sampled dot or axpy: two loads each, no reuse
constexpr double kSampledEntry = 120;   // one entry of one sampled step: coordinates, reduction
constexpr double kRead = 100;           // one entry read from a dense product, or written to its cotangent
constexpr double kGathered = 200;       // one number of a gathered row: read, written, read again, its gradient scattered

constexpr double kFoldedOnce = 1e-3;    // of two constants in training: what one contraction costs when so many steps share it

}  // namespace irk
