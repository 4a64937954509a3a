// Ctrl-C seen while Python cannot look: a flag set from the signal's handler, before the handler that was there.
#pragma once
#include <signal.h>

#include <atomic>
#include <system_error>

namespace irk {

class Interrupts {
 public:
  // From now on, until unhear(): a handler of Python's must be in force.
  void hear() {
    asked_ = 0;
    if (sigaction(SIGINT, nullptr, &before_)) fail();
    struct sigaction ours = before_;
    ours.sa_flags &= ~SA_SIGINFO;
    ours.sa_handler = &Interrupts::handle;
    if (sigaction(SIGINT, &ours, nullptr)) fail();
  }
  void unhear() {
    if (sigaction(SIGINT, &before_, nullptr)) fail();
    asked_ = 0;
  }
  static const std::atomic<int>* asked() { return &asked_; }

 private:
  [[noreturn]] static void fail() { throw std::system_error(errno, std::generic_category(), "sigaction"); }
  static void handle(int number) {
    asked_.store(1, std::memory_order_relaxed);
    if (before_.sa_handler != SIG_DFL && before_.sa_handler != SIG_IGN) before_.sa_handler(number);
  }

  inline static std::atomic<int> asked_{0};
  inline static struct sigaction before_ {};
};
static_assert(std::atomic<int>::is_always_lock_free);  // a handler may set no other

inline Interrupts interrupts;

}  // namespace irk
