// What a severe emulation (IRK_SEVERE) hears of the threads that it runs; nothing where emulation is not severe. The compiler
// tells every load and store (-fsanitize=thread, but with the functions of targets/races.cpp in place of its run time).
// Teams: threads that wait for one another. Two threads of a team may not meet in memory, one of them writing, between two
// waits; threads of different teams not at all within a launch.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

namespace irk::races {

#if defined(IRK_SEVERE)
void begin_launch();
std::string end_launch();                    // what was found first, or nothing
void begin_team(int64_t team);               // whose threads run from now on
void next_epoch();                           // all threads of the team have waited for one another
void go_on(int thread);                      // a thread of the team runs from now on,
void stand_still();                          // and none does
void leave_out(const void* data, size_t n);  // stacks: memory of one thread
void guard(const char* data, size_t n, size_t margin);  // shared memory: `margin` bytes before and behind it are nobody's
#else
inline void begin_launch() {}
inline std::string end_launch() { return {}; }
inline void begin_team(int64_t) {}
inline void next_epoch() {}
inline void go_on(int) {}
inline void stand_still() {}
inline void leave_out(const void*, size_t) {}
inline void guard(const char*, size_t, size_t) {}
#endif

}  // namespace irk::races
