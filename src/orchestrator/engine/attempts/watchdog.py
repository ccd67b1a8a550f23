"""Notices code that blocks the event loop, names it, and interrupts it.

The loop ticks; a thread watches the ticks. When they stop for `blocked_after`, the stack of the loop's thread says who
is to blame. If that is a node's code, the attempt is told that it blocked, and the code is interrupted: on the main
thread by a signal, whose handler raises `LoopBlocked` there (this also ends a blocking system call such as
`time.sleep`), elsewhere by an asynchronous exception (which takes effect with the next line of Python).
"""

import asyncio
import ctypes
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from types import FrameType
from typing import Any

import structlog

log: Any = structlog.get_logger("orchestrator.watchdog")

TICK_SECONDS = 0.5


class LoopBlocked(BaseException):
    """Raised inside code that blocks the event loop, to end it."""


class Watchdog:
    """Watches one event loop. `blocked(task_name)` is called on the loop once it answers again."""

    def __init__(self, *, blocked_after_seconds: float, is_node_task: Callable[[str], bool]) -> None:
        self._after = blocked_after_seconds
        self._is_node_task = is_node_task
        self._stop = threading.Event()
        self._ticked = time.monotonic()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread_id = 0
        self._handle: asyncio.TimerHandle | None = None
        self._old_handler: Any = None
        self._uses_signal = False
        self._armed = False
        self.blames: list[str] = []

    def start(self) -> None:
        """Begin to watch the running loop, on whose thread this is called."""
        self._loop = asyncio.get_running_loop()
        self._thread_id = threading.get_ident()
        self._ticked = time.monotonic()
        if threading.current_thread() is threading.main_thread() and hasattr(signal, "SIGUSR2"):
            self._old_handler = signal.signal(signal.SIGUSR2, self._interrupt)
            self._uses_signal = True
        self._tick()
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        """End."""
        self._stop.set()
        if self._handle is not None:
            self._handle.cancel()
        if self._uses_signal:
            signal.signal(signal.SIGUSR2, self._old_handler or signal.SIG_DFL)
            self._uses_signal = False

    def answers(self) -> bool:
        """Whether the loop has ticked within `blocked_after`."""
        return time.monotonic() - self._ticked < self._after

    def _tick(self) -> None:
        self._ticked = time.monotonic()
        if not self._stop.is_set() and self._loop is not None:
            self._handle = self._loop.call_later(TICK_SECONDS, self._tick)

    def _watch(self) -> None:
        while not self._stop.wait(TICK_SECONDS):
            if not self.answers():
                self._act()
                # Give the interruption time to work before the next one.
                self._stop.wait(max(1.0, self._after / 2))

    def _act(self) -> None:
        loop = self._loop
        if loop is None or not loop.is_running():
            return
        task = asyncio.current_task(loop)
        name = task.get_name() if task is not None else "(no task)"
        frame = sys._current_frames().get(self._thread_id)  # pyright: ignore[reportPrivateUsage] -- the documented way
        where = "".join(traceback.format_stack(frame)[-3:]) if frame is not None else ""
        log.error(
            "the event loop is blocked",
            by=name,
            seconds=round(time.monotonic() - self._ticked, 1),
            where=where,
        )
        if task is None or not self._is_node_task(name):
            return
        self.blames.append(name)
        self._armed = True
        if self._uses_signal:
            signal.pthread_kill(self._thread_id, signal.SIGUSR2)
        else:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(self._thread_id), ctypes.py_object(LoopBlocked)
            )

    def _interrupt(self, _signal: int, _frame: FrameType | None) -> None:
        if not self._armed or self._loop is None:
            return
        self._armed = False
        task = asyncio.current_task(self._loop)
        if task is not None and self._is_node_task(task.get_name()):
            raise LoopBlocked
