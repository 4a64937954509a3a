// Threads of a GPU's block on the host: each has a stack of its own and runs until it waits for the others, in an order that
// is drawn anew between any two waits. What comes out must not depend on it.
#pragma once
#include <sys/mman.h>
#include <ucontext.h>

#include <algorithm>
#include <functional>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "targets/races.h"

namespace irk {
namespace {

class Fibers {
 public:
  // body(rank) of `size` threads.
  void run(int size, const std::function<void(int)>& body, std::mt19937_64& draw) {
    grow(size);
    fibers_.resize(size_t(size));
    body_ = &body;
    for (int i = 0; i < size; ++i) start(i);
    std::vector<int> order(static_cast<size_t>(size));
    std::iota(order.begin(), order.end(), 0);
    error_.clear();
    for (int ended = 0; ended < size && error_.empty(); ended = check()) {
      std::shuffle(order.begin(), order.end(), draw);
      for (const int i : order) resume(i);
      races::next_epoch();
    }
    if (!error_.empty()) throw std::runtime_error(error_);
  }

  // Of the thread that runs now: until all threads are here.
  __attribute__((noinline)) void wait() {
    races::stand_still();
    Fiber& own = fibers_[size_t(now_)];
    own.place = __builtin_return_address(0);
    swapcontext(&own.context, &home_);
    races::go_on(now_);
  }

 private:
  struct Fiber {
    ucontext_t context;
    const void* place = nullptr;  // where it waits
    bool ended = false;
  };
  static constexpr size_t kStack = 256 << 10;

  static void enter(unsigned low, unsigned high) {
    auto* fibers = reinterpret_cast<Fibers*>(uintptr_t(low) | uintptr_t(high) << 32);
    const int own = fibers->now_;
    races::go_on(own);
    try {
      (*fibers->body_)(own);
    } catch (const std::exception& e) {
      fibers->error_ = e.what();
    }
    races::stand_still();
    fibers->fibers_[size_t(own)].ended = true;
    fibers->fibers_[size_t(own)].place = nullptr;
    swapcontext(&fibers->fibers_[size_t(own)].context, &fibers->home_);
  }
  void start(int i) {
    Fiber& fiber = fibers_[size_t(i)];
    fiber.ended = false;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = stacks_ + size_t(i) * kStack;
    fiber.context.uc_stack.ss_size = kStack;
    fiber.context.uc_link = nullptr;
    const auto self = reinterpret_cast<uintptr_t>(this);
    makecontext(&fiber.context, reinterpret_cast<void (*)()>(&Fibers::enter), 2, unsigned(self), unsigned(self >> 32));
  }
  void resume(int i) {
    if (fibers_[size_t(i)].ended) return;
    now_ = i;
    swapcontext(&home_, &fibers_[size_t(i)].context);
  }
  // How many have ended: none may wait for one that has, nor at another place than the others.
  int check() {
    int ended = 0;
    for (const Fiber& fiber : fibers_) ended += fiber.ended;
    for (const Fiber& fiber : fibers_) {
      if (ended && !fiber.ended) error_ = "threads of a block wait for others that have ended";
#if defined(IRK_SEVERE)  // compiled so that no place in the source is at two in the code
      if (!ended && fiber.place != fibers_[0].place) error_ = "threads of a block wait at different places";
#endif
    }
    return ended;
  }
  void grow(int size) {
    if (size <= room_) return;
    if (stacks_) munmap(stacks_, size_t(room_) * kStack);
    stacks_ = static_cast<char*>(
        mmap(nullptr, size_t(size) * kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    if (stacks_ == MAP_FAILED) throw std::runtime_error("no memory for the stacks of emulated threads");
    room_ = size;
    races::leave_out(stacks_, size_t(size) * kStack);
  }

  std::vector<Fiber> fibers_;
  ucontext_t home_;
  const std::function<void(int)>* body_ = nullptr;
  std::string error_;
  char* stacks_ = nullptr;
  int room_ = 0, now_ = 0;
};

}  // namespace
}  // namespace irk
