// operator new that fails when irkernels' own libraries ask for the k-th time, and counts what they hold. LD_PRELOADed.
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <new>

namespace {

struct Range {
  uintptr_t first, end;
};
Range watched[64];  // where the code of the libraries lies
int n_watched = 0;
std::atomic<int64_t> asked{0}, failing{0};  // since armed; which one fails, 0: none

// Addresses held by the watched code: an open table, since whoever frees them need not be watched.
constexpr size_t kPlaces = size_t(1) << 20;
void* held[kPlaces];
void* const kFreed = &held;
size_t n_held = 0;
std::mutex guard;

size_t place_of(void* p) { return (reinterpret_cast<uintptr_t>(p) >> 4) * 0x9E3779B97F4A7C15u % kPlaces; }

bool from_watched(void* caller) {
  const auto at = reinterpret_cast<uintptr_t>(caller);
  for (int i = 0; i < n_watched; ++i)
    if (at >= watched[i].first && at < watched[i].end) return true;
  return false;
}

void* taken(size_t bytes, size_t alignment, void* caller) {
  const bool own = n_watched && from_watched(caller);
  if (own && ++asked == failing) return nullptr;
  void* p = alignment ? aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment) : malloc(bytes ? bytes : 1);
  if (!own || !p) return p;
  const std::lock_guard<std::mutex> lock(guard);
  size_t i = place_of(p);
  while (held[i] && held[i] != kFreed) i = (i + 1) % kPlaces;
  held[i] = p;
  ++n_held;
  return p;
}

void given(void* p) {
  if (p && n_watched) {
    const std::lock_guard<std::mutex> lock(guard);
    for (size_t i = place_of(p); held[i]; i = (i + 1) % kPlaces)
      if (held[i] == p) {
        held[i] = kFreed;
        --n_held;
        break;
      }
  }
  free(p);
}

void* or_throw(void* p) {
  if (!p) throw std::bad_alloc();
  return p;
}

}  // namespace

extern "C" {
__attribute__((visibility("default"))) void watch(uintptr_t first, uintptr_t end) { watched[n_watched++] = {first, end}; }
__attribute__((visibility("default"))) void arm(int64_t k) { asked = 0, failing = k; }
__attribute__((visibility("default"))) int64_t count() { return asked; }
__attribute__((visibility("default"))) int64_t holding() { return int64_t(n_held); }
}

#define CALLER __builtin_return_address(0)
void* operator new(size_t n) { return or_throw(taken(n, 0, CALLER)); }
void* operator new[](size_t n) { return or_throw(taken(n, 0, CALLER)); }
void* operator new(size_t n, const std::nothrow_t&) noexcept { return taken(n, 0, CALLER); }
void* operator new[](size_t n, const std::nothrow_t&) noexcept { return taken(n, 0, CALLER); }
void* operator new(size_t n, std::align_val_t a) { return or_throw(taken(n, size_t(a), CALLER)); }
void* operator new[](size_t n, std::align_val_t a) { return or_throw(taken(n, size_t(a), CALLER)); }
void operator delete(void* p) noexcept { given(p); }
void operator delete[](void* p) noexcept { given(p); }
void operator delete(void* p, size_t) noexcept { given(p); }
void operator delete[](void* p, size_t) noexcept { given(p); }
void operator delete(void* p, std::align_val_t) noexcept { given(p); }
void operator delete[](void* p, std::align_val_t) noexcept { given(p); }
void operator delete(void* p, size_t, std::align_val_t) noexcept { given(p); }
void operator delete[](void* p, size_t, std::align_val_t) noexcept { given(p); }
