// Threads of a CPU target: those of the OpenMP pool that torch uses.
#pragma once
#include <omp.h>
#include <pthread.h>

#include <exception>
#include <optional>

#include "team/team.h"

namespace irk {
namespace {

// An OpenMP pool does not survive fork: a child computes with one thread.
bool forked = false;
const int at_fork = pthread_atfork(nullptr, nullptr, [] { forked = true; });

// Every member makes what is its own (make: a pointer or what else begins empty), then all take part: body(team, own).
// Where one could not make it, none takes part, and its error leaves here, as no error can from within a team.
template <class Make, class Body>
void parallel(int threads, Make&& make, Body&& body) {
  if (threads <= 1 || forked) return body(Team{}, make(Team{}));
  std::optional<Barrier> barrier;
  std::exception_ptr error;
#pragma omp parallel num_threads(threads)
  {
#pragma omp single
    barrier.emplace(omp_get_num_threads());
    const Team team{omp_get_thread_num(), omp_get_num_threads(), &*barrier};
    decltype(make(team)) own{};
    try {
      own = make(team);
    } catch (...) {
#pragma omp critical(of_a_member)
      error = std::current_exception();
    }
#pragma omp barrier
    if (!error) body(team, own);
  }
  if (error) std::rethrow_exception(error);
}

// Members who make nothing; body(team) throws nothing.
template <class Body>
void parallel(int threads, Body&& body) {
  if (threads <= 1 || forked) return body(Team{});
  std::optional<Barrier> barrier;
#pragma omp parallel num_threads(threads)
  {
#pragma omp single
    barrier.emplace(omp_get_num_threads());
    body(Team{omp_get_thread_num(), omp_get_num_threads(), &*barrier});
  }
}

}  // namespace
}  // namespace irk
