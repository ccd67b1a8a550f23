"""Threads for plain (not async) code of nodes: as many as needed, reused, and never in the way of a shutdown.

The standard pool joins its threads when the interpreter ends, so one hanging node would keep the process alive. These
are daemons: a thread that never comes back costs its own memory and nothing else.
"""

import asyncio
import contextvars
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeAlias

_IDLE_MAX = 32

_Job: TypeAlias = tuple[
    Callable[[], Any], asyncio.AbstractEventLoop, asyncio.Future[Any], contextvars.Context
]


class DaemonThreads:
    """Runs functions in daemon threads."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._idle: list[SimpleQueue[_Job | None]] = []
        self._lock = threading.Lock()

    def run(self, fn: Callable[[], Any]) -> asyncio.Future[Any]:
        """Start `fn` in a thread, with the caller's context variables. Cancelling the future abandons the thread."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        job = (fn, loop, future, contextvars.copy_context())
        with self._lock:
            queue: SimpleQueue[_Job | None] | None = self._idle.pop() if self._idle else None
        if queue is None:
            queue = SimpleQueue()
            threading.Thread(target=self._serve, args=(queue,), name=self._name, daemon=True).start()
        queue.put(job)
        return future

    def close(self) -> None:
        """Let idle threads end; busy ones are left alone."""
        with self._lock:
            idle, self._idle = self._idle, []
        for queue in idle:
            queue.put(None)

    def _serve(self, queue: "SimpleQueue[_Job | None]") -> None:
        while (job := queue.get()) is not None:
            fn, loop, future, context = job
            result: Any = None
            error: BaseException | None = None
            try:
                result = context.run(fn)
            except BaseException as raised:  # noqa: BLE001 -- handed to whoever awaits it, SystemExit too
                error = raised
            try:
                loop.call_soon_threadsafe(_settle, future, result, error)
            except RuntimeError:
                return  # the loop is closed: nobody waits for this any more
            del job, fn, future, context, result, error
            with self._lock:
                if len(self._idle) >= _IDLE_MAX:
                    return
                self._idle.append(queue)


def _settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    elif isinstance(error, StopIteration):
        future.set_exception(RuntimeError("StopIteration was raised in a thread"))
    else:
        future.set_exception(error)
