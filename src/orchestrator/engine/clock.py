"""The engine's time: the store's, as last heard, plus monotonic time since. Nothing else in the engine asks a clock."""

from collections.abc import Callable
from time import monotonic_ns


def _monotonic_us() -> int:
    return monotonic_ns() // 1000


class StoreClock:
    """Store time between two answers of the store. Never goes back; a store that is behind is waited for."""

    def __init__(self, monotonic_us: Callable[[], int] = _monotonic_us) -> None:
        self._monotonic_us = monotonic_us
        self._real = monotonic_us is _monotonic_us
        self._offset_us = 0
        self._heard = False
        self._last_us = 0

    def heard(self, store_us: int) -> None:
        """The store said its time just now."""
        offset = store_us - self._monotonic_us()
        if not self._heard or offset > self._offset_us or self._offset_us - offset > 1_000_000:
            # An answer is always late: the largest offset is the truest, unless the clocks drifted apart.
            self._offset_us, self._heard = offset, True

    def now_us(self) -> int:
        """Microseconds since the epoch, by the store's clock."""
        # Asked several times for each task: no call more than there must be.
        now = self._offset_us + (monotonic_ns() // 1000 if self._real else self._monotonic_us())
        if now > self._last_us:
            self._last_us = now
            return now
        return self._last_us

    def monotonic_us(self) -> int:
        """For spans of time within this process."""
        return self._monotonic_us()
