"""How long a task that can't run here is put off: longer each time that it comes again, up to a limit.

Whoever can run it comes to it in between, and those who can't don't do nothing else.
"""

FIRST_US = 500_000
LONGEST_US = 15_000_000
REMEMBERED_MAX = 10_000

Key = tuple[str, str]


class PutOff:
    """Of one worker; a key names a task by run and path. Forgets what came longest ago."""

    def __init__(self) -> None:
        self._times: dict[Key, int] = {}

    def put_off(self, key: Key) -> int:
        """It came, and can't run here: the delay in microseconds until it is offered again."""
        times = self._times.pop(key, 0)
        self._times[key] = times + 1
        if len(self._times) > REMEMBERED_MAX:
            del self._times[next(iter(self._times))]
        return min(FIRST_US << min(times, 16), LONGEST_US)

    def forget(self, key: Key) -> None:
        """It runs now."""
        self._times.pop(key, None)
