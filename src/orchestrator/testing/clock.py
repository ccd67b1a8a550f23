"""An event loop whose time is virtual: it never waits, it jumps to the next thing that is due.

A simulated day takes as long as the work that is done in it, and nothing depends on how fast the machine is. While a
thread works for the loop (`asyncio.to_thread`, plain code of nodes) virtual time stands still. There is no other I/O:
a socket or a pipe is refused in words, since nobody could say how much virtual time an answer takes.
"""

import asyncio
import selectors
import threading
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

T = TypeVar("T")

EPOCH_US = 1_750_000_000_000_000
"""When virtual time begins, in microseconds since the epoch."""

THREAD_SECONDS_MAX = 60.0
"""How long (really) a thread may work before the loop gives up on it."""


class Stalled(RuntimeError):
    """Nothing is ready and nothing is due: whatever is awaited will never happen."""


class NoInputOutput(RuntimeError):
    """Code on the virtual loop wants a socket, a pipe or a process."""

    def __init__(self) -> None:
        super().__init__(
            "there is no input or output on the virtual clock: let a stand-in answer for what talks to the network "
            "(`lab.stand_in(...)`), or do it in a thread (a plain `def execute`, `asyncio.to_thread`)"
        )


class _JumpingSelector(selectors.BaseSelector):
    """Waits for nothing but threads: where a selector would sleep, virtual time passes instead."""

    def __init__(self) -> None:
        self._keys: dict[Any, selectors.SelectorKey] = {}
        self.now = 0.0
        self.open = False
        self.held = 0
        self.woken = threading.Event()
        self.quiet: list[Callable[[float | None], None]] = []

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        if self.open:
            raise NoInputOutput
        key = selectors.SelectorKey(fileobj, -1, events, data)
        self._keys[fileobj] = key
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout <= 0:
            return []
        if self.held:
            self._wait_for_thread()
        elif self.quiet:
            self.quiet.pop(0)(timeout)
        elif timeout is None:
            raise Stalled("nothing is ready and no timer is set")
        else:
            self.now += timeout
        return []

    def _wait_for_thread(self) -> None:
        if not self.woken.wait(THREAD_SECONDS_MAX):
            raise Stalled(f"a thread has worked for {THREAD_SECONDS_MAX:g} s and the loop waits for it")
        self.woken.clear()


class VirtualLoop(asyncio.SelectorEventLoop):
    """See the module. `now_us` is its time for stores and clocks, which begins at `epoch_us`."""

    def __init__(self, *, epoch_us: int = EPOCH_US) -> None:
        self._jumping = _JumpingSelector()
        self._epoch_us = epoch_us
        super().__init__(self._jumping)
        # A timer is due when the clock shows its time, not when it comes within the resolution of a real clock.
        self._clock_resolution = 1e-9
        self._jumping.open = True

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._jumping.now

    def now_us(self) -> int:
        """Virtual time as microseconds since the epoch."""
        return self._epoch_us + round(self._jumping.now * 1_000_000)

    def jump(self, to_us: int) -> None:
        """Let it be `to_us` now, at once; what fell due on the way is done next. Never back."""
        self._jumping.now = max(self._jumping.now, (to_us - self._epoch_us) / 1_000_000)

    async def quiet(self) -> float | None:
        """Wait until nothing is ready and no thread works; gives the seconds to the next timer, None without one."""
        reached: asyncio.Future[float | None] = self.create_future()

        def settle(seconds: float | None) -> None:
            if not reached.done():
                reached.set_result(seconds)

        self._jumping.quiet.append(settle)
        return await reached

    def hold(self, future: "asyncio.Future[Any]") -> None:
        """Let time stand still until this future, which a thread will settle, is done."""
        self._jumping.held += 1
        future.add_done_callback(self._release)

    def _release(self, _done: object) -> None:
        self._jumping.held -= 1

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:
        """As asyncio's; time stands still meanwhile."""
        future = super().run_in_executor(executor, func, *args)
        self.hold(future)
        return future

    def _write_to_self(self) -> None:  # what a thread calls to wake the loop
        self._jumping.woken.set()


def run_virtual(main: Callable[[VirtualLoop], Coroutine[Any, Any, T]], *, epoch_us: int = EPOCH_US) -> T:
    """Run `main(loop)` to its end in virtual time.

    Raises:
        Stalled: it waits for something that can't happen.
    """
    loop = VirtualLoop(epoch_us=epoch_us)
    try:
        asyncio.set_event_loop(loop)
        return loop.run_until_complete(main(loop))
    finally:
        asyncio.set_event_loop(None)
        close_virtual(loop)


def close_virtual(loop: VirtualLoop) -> None:
    """Cancel what is left on the loop, and close it."""
    try:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()
