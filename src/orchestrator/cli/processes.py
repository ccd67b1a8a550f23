"""What the long-running commands have in common: the event loop, the signals, the store's place."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import structlog

from orchestrator.cli.quickly import loaded
from orchestrator.config import Settings

_T = TypeVar("_T")
log: Any = structlog.get_logger("orchestrator.process")

NUMBERS = (signal.SIGINT, signal.SIGTERM)


STUBBORN_SECONDS = 2.0
"""How long code that ignores its cancellation can hold up the end of a process."""


def run_loop(work: Coroutine[Any, Any, _T]) -> _T:
    """Run it on the fastest event loop that this system has; see `run_to_end`."""
    loaded()
    if sys.platform == "win32":
        return run_to_end(work, asyncio.new_event_loop())
    import uvloop

    return run_to_end(work, uvloop.new_event_loop())


def run_to_end(work: Coroutine[Any, Any, _T], loop: asyncio.AbstractEventLoop) -> _T:
    """Run it on this loop, then end what is left there.

    What `asyncio.run` does, but that it would wait for ever for a node's code that swallows its cancellation. Such code
    is left behind: it ends with the process, and its task was given up or given back before.
    """
    asyncio.set_event_loop(loop)
    stubborn: set[asyncio.Task[Any]] = set()
    try:
        return loop.run_until_complete(work)
    finally:
        try:
            left = asyncio.all_tasks(loop)
            for task in left:
                task.cancel()
            if left:
                _, stubborn = loop.run_until_complete(asyncio.wait(left, timeout=STUBBORN_SECONDS))
            loop.run_until_complete(asyncio.wait_for(loop.shutdown_asyncgens(), STUBBORN_SECONDS))
        except TimeoutError:
            pass  # an asynchronous generator that doesn't end: it ends with the process
        finally:
            asyncio.set_event_loop(None)
            if stubborn:
                _leave(stubborn)
            else:
                loop.close()


def _leave(stubborn: set[asyncio.Task[Any]]) -> None:
    names = ", ".join(sorted(task.get_name() for task in stubborn))
    log.warning("code that ignores its cancellation is left behind", tasks=names)
    for task in stubborn:
        # asyncio's own complaint, at the end of the process, would say less than we did.
        task._log_destroy_pending = False  # type: ignore[attr-defined]
    _LEFT.append(stubborn)


_LEFT: list[set[asyncio.Task[Any]]] = []
"""Keeps them from being destroyed, which would run their code once more."""


def with_absolute_store(settings: Settings) -> Settings:
    """The settings with a store and an outbox that mean the same from every working directory."""
    outbox = settings.outbox.absolute()
    prefix = "sqlite:///"
    if not settings.store.startswith(prefix) or settings.store[len(prefix) :].startswith("/"):
        return settings.model_copy(update={"outbox": outbox})
    path = Path(settings.store[len(prefix) :]).absolute()
    return settings.model_copy(update={"store": f"{prefix}{path.as_posix()}", "outbox": outbox})


class Interrupts:
    """The first SIGINT or SIGTERM asks for an end in order (`stop`), a second one for an end at once (`at_once`).

    In the main thread, on a running loop. `install` again, after somebody else took the signals, also calls their
    handlers, and goes on counting.
    """

    def __init__(self, *, told: Callable[[int], None] | None = None) -> None:
        self.stop = asyncio.Event()
        self.at_once = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._told = told
        self._count = 0

    def install(self, *, chained: bool = False) -> None:
        """Take the signals."""
        for number in NUMBERS:
            before = signal.getsignal(number) if chained else None
            signal.signal(number, self._handler(before))

    def _handler(self, before: Any) -> Callable[[int, FrameType | None], None]:
        def handle(number: int, frame: FrameType | None) -> None:
            if callable(before):
                before(number, frame)
            self._loop.call_soon_threadsafe(self._take)

        return handle

    def _take(self) -> None:
        self._count += 1
        (self.stop if self._count == 1 else self.at_once).set()
        if self._told is not None:
            self._told(self._count)


def end_with_parent(interrupts: Interrupts) -> None:
    """End this process when the one that started it is gone: its end of our stdin closes, however it died.

    What runs is given back at once, as at a second Ctrl-C. A loop that doesn't answer any more ends within seconds all
    the same. Stdin itself becomes empty, so that no node reads from the pipe.
    """
    import threading
    import time

    pipe = os.dup(0)
    os.set_inheritable(pipe, False)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    loop = asyncio.get_running_loop()

    def end() -> None:
        interrupts.at_once.set()
        interrupts.stop.set()

    def watch() -> None:
        while os.read(pipe, 1024):
            continue
        try:
            loop.call_soon_threadsafe(end)
        except RuntimeError:
            return  # it is closed: we are ending anyway
        time.sleep(ORPHAN_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()


ORPHAN_SECONDS = 5.0
