// What steps cost, in multiply-adds of a dense contraction. Pure functions of sizes, so that a route never depends on
// the machine, the threads, the strides or the number of trials. The constants were measured with `python -m bench.routes`.
#pragma once

namespace irk {

constexpr double kWrite = 4;            // writing one element of an intermediate
constexpr double kSampledWork = 4.5;    // one multiply-add of a sampled dot or axpy: two loads each, no reuse
constexpr double kSampledEntry = 100;   // one entry of one sampled step: coordinates, reduction
constexpr double kRead = 100;           // one entry read from a dense product, or written to its cotangent

constexpr double kRecompute = 20000;    // a value cheaper than this is computed again in backward: keeping it costs an allocation
constexpr double kGathered = 8;         // one number of a gathered row: read, written, read again, its gradient scattered

}  // namespace irk
