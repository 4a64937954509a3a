// Threads of a CPU target: those of the OpenMP pool that torch uses.
#pragma once
#include <omp.h>
#include <pthread.h>

#include <memory>

#include "team/team.h"

namespace irk {
namespace {

// An OpenMP pool does not survive fork: a child computes with one thread.
bool forked = false;
const int at_fork = pthread_atfork(nullptr, nullptr, [] { forked = true; });

template <class Body>
void parallel(int threads, Body&& body) {
  if (threads <= 1 || forked) return body(Team{});
  std::unique_ptr<Barrier> barrier;
#pragma omp parallel num_threads(threads)
  {
#pragma omp single
    barrier = std::make_unique<Barrier>(omp_get_num_threads());
    body(Team{omp_get_thread_num(), omp_get_num_threads(), barrier.get()});
  }
}

}  // namespace
}  // namespace irk
