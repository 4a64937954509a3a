// Large pages for large results. The first write to fresh memory enters the system once for each page of 4 KiB, which can
// take longer than the arithmetic of a whole product; asked for, 2 MiB come at a time.
#pragma once
#include <cstdint>

#include "bind/tensor.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace irk {

// Gathered rows, too, cost a walk through the page tables each where their matrix lies in small pages.
enum class Pages { fresh, in_use };  // in_use: already written to, moved into large pages at once

inline void ask_for_large_pages(const TensorView& v, Pages pages = Pages::fresh) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  constexpr int64_t kPage = int64_t(1) << 21, kWorthwhile = 4 * kPage;
  constexpr int kCollapse = 25;  // MADV_COLLAPSE, of Linux 6.1 and newer
  constexpr int64_t bytes_of[] = {4, 8, 2, 2, 4, 8, 1, 0};  // by Scalar
  int64_t bytes = bytes_of[int(v.scalar)];
  for (int i = 0; i < v.ndim; ++i) bytes *= v.shape[i];
  if (bytes < kWorthwhile || v.place.kind != DeviceKind::cpu) return;
  const int64_t begin = (reinterpret_cast<int64_t>(v.data) + kPage - 1) / kPage * kPage;
  const int64_t end = (reinterpret_cast<int64_t>(v.data) + bytes) / kPage * kPage;
  // advice: a refusal changes nothing
  madvise(reinterpret_cast<void*>(begin), size_t(end - begin), MADV_HUGEPAGE);
  if (pages == Pages::in_use) madvise(reinterpret_cast<void*>(begin), size_t(end - begin), kCollapse);
#endif
}

}  // namespace irk
