"""An event loop whose time is virtual: it never waits, it jumps to the next thing that is due.

A simulated day takes as long as the work that is done in it, and nothing depends on how fast the machine is. There is
no I/O in it and there are no threads: everything that runs must run on the loop.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

T = TypeVar("T")

EPOCH_US = 1_750_000_000_000_000
"""When virtual time begins, in microseconds since the epoch."""


class Stalled(RuntimeError):
    """Nothing is ready and nothing is due: whatever is awaited will never happen."""


class _JumpingSelector(selectors.BaseSelector):
    """Waits for nothing: where a selector would sleep, virtual time passes instead."""

    def __init__(self) -> None:
        self._keys: dict[Any, selectors.SelectorKey] = {}
        self.now = 0.0

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = selectors.SelectorKey(fileobj, -1, events, data)
        self._keys[fileobj] = key
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Stalled("nothing is ready and no timer is set")
        self.now += max(0.0, timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """See the module. `now_us` is its time for stores and clocks."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)
        # A timer is due when the clock shows its time, not when it comes within the resolution of a real clock.
        self._clock_resolution = 1e-9

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._jumping.now

    def now_us(self) -> int:
        """Virtual time as microseconds since the epoch."""
        return EPOCH_US + round(self._jumping.now * 1_000_000)


def run_virtual(main: Callable[[VirtualLoop], Coroutine[Any, Any, T]]) -> T:
    """Run `main(loop)` to its end in virtual time.

    Raises:
        Stalled: it waits for something that can't happen.
    """
    loop = VirtualLoop()
    try:
        asyncio.set_event_loop(loop)
        return loop.run_until_complete(main(loop))
    finally:
        try:
            left = asyncio.all_tasks(loop)
            for task in left:
                task.cancel()
            if left:
                loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        finally:
            asyncio.set_event_loop(None)
            loop.close()
