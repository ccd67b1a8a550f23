"""kill -9 of the server at random moments of a run of thirty nodes: it ends as it would have, and goes on at once."""

import statistics
from pathlib import Path

import pytest

from tests.faults.processes import REALTIME, Server, server, tell
from tests.faults.thirty import Driver, Story, check, prepare

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(600)]

KILLS = 100 if REALTIME else 20
GOES_ON_SECONDS = 2.0


def test_kill_9_of_the_server_at_random_moments(tmp_path: Path, first_seed: int) -> None:
    with server(tmp_path) as found:
        prepare(found)
        whole = Driver(found, -1, kill=None, restart=lambda: 0.0, within_seconds=0.2).tell()
        check(whole, found, executions_max=1)
        stories = [_killed(found, first_seed + number) for number in range(KILLS)]
        assert found.starts == KILLS + 1
        for story in stories:
            # Killed once: what ran at that moment may have run twice, nothing more often.
            check(story, found, executions_max=2)
    report(stories)


def _killed(found: Server, seed: int) -> Story:
    def restart() -> float:
        found.start()
        return found.ready_at

    return Driver(found, seed, kill=found.kill, restart=restart, within_seconds=1.1).tell()


def report(stories: list[Story]) -> None:
    """Print what was measured; in `make faults` the time is a limit."""
    gaps = [story.gap_seconds for story in stories if story.gap_seconds is not None]
    again = [story.restart_seconds for story in stories if story.kills]
    tell(
        f"{len(stories)} kills, {sum(story.doubts for story in stories)} tasks in doubt; "
        f"from kill to ready {statistics.median(again):.2f} s (median), {max(again):.2f} s at most; "
        f"from ready to the next event {statistics.median(gaps):.3f} s, {max(gaps):.3f} s at most ({len(gaps)} times; "
        f"{sum(story.waited_only for story in stories)} only waited for a signal)"
    )
    assert len(gaps) >= len(stories) // 4, "too few kills hit a run in the middle"
    if REALTIME:
        late = [
            (s.seed, s.gap_seconds)
            for s in stories
            if s.gap_seconds is not None and s.gap_seconds > GOES_ON_SECONDS
        ]
        assert not late, f"work went on later than {GOES_ON_SECONDS} s after the restart: {late}"
