// Contests between a team and one thread, on a clock of the test's own.
#include "targets/contest.h"

namespace {

using Time = irk::Contest::Time;

// How many of `calls` the team is given, of which a step takes it so long, and one thread so long.
int to_team(irk::Contest& contest, int calls, int team, int alone, int64_t& now) {
  int given = 0;
  for (int call = 0; call < calls; ++call) {
    const bool chosen = contest.for_team(Time(now));
    const int64_t began = now, steps = 100'000;
    now += steps * (chosen ? team : alone);
    contest.took(chosen, Time(began), Time(now), steps);
    given += chosen;
  }
  return given;
}

}  // namespace

int main() {
  irk::Contests contests;
  int64_t now = 0;
  irk::Contest& contest = contests.of(1000);
  const int slower = to_team(contest, 1000, 20, 10, now);  // the slower one is tried again, for a twentieth of the time
  if (slower < 10 || slower > 60) return 1;
  const int faster = to_team(contest, 1000, 5, 10, now);  // and found when it is not any more
  if (faster < 900) return 2;
  const int64_t before = now;
  contest.took(true, Time(now), Time(now + 1000), 1);  // a single slow step
  if (!contest.for_team(Time(before))) return 4;
  if (&contests.of(1023) != &contest || &contests.of(1024) == &contest) return 3;
  return &contests.of(0) != &contests.of(1);
}
