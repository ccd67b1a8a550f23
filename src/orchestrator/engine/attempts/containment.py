"""What a node's code starts on the event loop must not end the process.

asyncio hands SystemExit and KeyboardInterrupt of *any* task on to whoever runs the loop, and so would end the worker.
The attempt's own task catches them; the tasks that a node's code makes (by `gather`, a task group, `create_task`) are
made by the factory here, which turns them into an ordinary error of that task.
"""

import asyncio
from collections.abc import Coroutine, Generator
from contextvars import ContextVar
from typing import Any

from orchestrator.errors import NodeError

_in_node: ContextVar[bool] = ContextVar("orchestrator_in_node", default=False)


class ExitInTask(NodeError):
    """A task that the node's code started called sys.exit, or raised KeyboardInterrupt."""

    code = "exit_in_task"
    retryable = False

    def __init__(self, error: BaseException) -> None:
        super().__init__(f"a task that the node's code started raised {type(error).__name__}")


def enter_node() -> None:
    """In this context, and in those of the tasks that are started in it, a node's code runs."""
    _in_node.set(True)


class Containment:
    """`install` on the running loop, `remove` at the end; a factory that stands there already is left alone."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    def install(self) -> None:
        """From now on tasks of nodes are contained."""
        loop = asyncio.get_running_loop()
        if loop.get_task_factory() is None:
            loop.set_task_factory(_make_task)
            self._loop = loop

    def remove(self) -> None:
        """Put back the loop's own way."""
        loop, self._loop = self._loop, None
        if loop is not None and not loop.is_closed() and loop.get_task_factory() is _make_task:
            loop.set_task_factory(None)


def _make_task(loop: asyncio.AbstractEventLoop, coro: Any, **kwargs: Any) -> asyncio.Task[Any]:
    if _in_node.get() and asyncio.iscoroutine(coro):
        coro = _Contained(coro)
    return asyncio.Task(coro, loop=loop, **kwargs)


class _Contained(Coroutine[Any, Any, Any]):
    """A coroutine that can raise everything but the end of the process."""

    def __init__(self, inner: Coroutine[Any, Any, Any]) -> None:
        self._inner = inner

    def send(self, value: Any, /) -> Any:
        try:
            return self._inner.send(value)
        except (SystemExit, KeyboardInterrupt) as error:
            raise ExitInTask(error) from error

    def throw(self, *error: Any) -> Any:
        try:
            return self._inner.throw(*error)
        except (SystemExit, KeyboardInterrupt) as ended:
            raise ExitInTask(ended) from ended

    def close(self) -> None:
        self._inner.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return (yield from self._inner.__await__())
