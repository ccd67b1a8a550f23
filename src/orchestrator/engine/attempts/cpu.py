"""Processes for `cpu = True` classes: started when they are needed, used again, and killed for real.

Code that computes for long would hold up everything else in the worker's process, and can't be stopped there. Here a
timeout, a cancel or a lost lease kills its process, a crash is that attempt's failure and nothing more, and the next
job gets a new process. See `cpu_child` for the other side.
"""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import structlog

from orchestrator.engine.attempts.cpu_child import read_frame, write_frame
from orchestrator.errors import NodeError, RetryLater, UsageError
from orchestrator.sdk import modules
from orchestrator.sdk.context import Context
from orchestrator.sdk.node import BaseNode
from orchestrator.sdk.results import Plan, Route, Stop

log: Any = structlog.get_logger("orchestrator.cpu")

CHILD = "orchestrator.engine.attempts.cpu_child"


class ProcessDied(NodeError):
    """The process of a CPU node ended in the middle: a crash in C, os._exit, out of memory."""

    code = "process_died"
    retryable = True

    def __init__(self, status: int) -> None:
        super().__init__(f"the process that ran the node died ({_died_of(status)})")


class FailedInProcess(NodeError):
    """What a CPU node's code raised, as far as it can be told from another process: its type and its words."""

    def __init__(self, *, code: str, message: str, retryable: bool) -> None:
        self.code = code  # pyright: ignore[reportAttributeAccessIssue] -- the type that was raised over there
        self.retryable = retryable  # pyright: ignore[reportAttributeAccessIssue] -- as above
        super().__init__(message)


class CpuProcesses:
    """At most `limit` processes of one worker. `slot` gives one to an attempt; from a thread it then runs its job."""

    def __init__(self, *, limit: int) -> None:
        self._room = asyncio.Semaphore(limit)
        self._idle: list[CpuProcess] = []
        self._busy: set[CpuProcess] = set()

    @asynccontextmanager
    async def slot(self) -> AsyncGenerator["CpuProcess"]:
        """Wait for room, then have a process alone; whoever leaves in the middle of a job kills it."""
        async with self._room:
            process = self._idle.pop() if self._idle else CpuProcess()
            process.rests = False
            self._busy.add(process)
            try:
                yield process
            finally:
                self._busy.discard(process)
                if process.rests and not process.killed:
                    self._idle.append(process)
                else:
                    process.kill()

    def close(self) -> None:
        """Kill all of them."""
        for process in (*self._idle, *self._busy):
            process.kill()
        self._idle.clear()


class CpuProcess:
    """One process. It starts with its first job.

    `rests` says whether it is idle: whoever takes it sets that back, and only the end of a job sets it.
    """

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._code: dict[str, int] = {}
        self._lock = threading.Lock()
        self.rests = True
        self.killed = False

    def kill(self) -> None:
        """End it now, whatever it does; its job, if any, gets no answer."""
        with self._lock:
            self.killed = True
            child = self._child
        if child is not None:
            _end(child)
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    _shut(pipe.close)

    def run(self, node_class: type[BaseNode], params: Mapping[str, Any], ctx: Context) -> Any:
        """Do one job, in the calling thread; what `execute` returned.

        Raises:
            UsageError: another process can't find the class.
            ProcessDied: it ended in the middle.
            RetryLater, NodeError: what the node's code raised.
        """
        file = modules.file_of(node_class.__module__)
        _check_findable(node_class)
        child = self._ready(node_class.__module__, file)
        assert child.stdin is not None
        assert child.stdout is not None
        job = {
            "module": node_class.__module__,
            "file": str(file) if file is not None else None,
            "qualname": node_class.__qualname__,
            "params": params,
        }
        try:
            write_frame(child.stdin, job)
            while (message := read_frame(child.stdout)) is not None:
                if "done" in message:
                    self.rests = True
                    ctx.set_variables(**message["variables"])
                    return _result(message["done"])
                if "failed" in message:
                    self.rests = True
                    raise _error(message)
                answer = _answer(message, ctx)
                if answer is not None:
                    write_frame(child.stdin, answer)
        except (BrokenPipeError, ValueError) as gone:
            raise ProcessDied(child.wait()) from gone
        raise ProcessDied(child.wait())

    def _ready(self, module: str, file: Any) -> "subprocess.Popen[bytes]":
        """The process, started anew if it isn't there or has older code than this one."""
        stamp = file.stat().st_mtime_ns if file is not None and file.exists() else 0
        with self._lock:
            child = self._child
            if child is not None and (child.poll() is not None or self._code.get(module, stamp) != stamp):
                _end(child)
                child = None
            if self.killed:
                raise ProcessDied(-signal.SIGKILL)
            if child is None:
                self._code = {}
                child = self._child = _start()
            self._code[module] = stamp
        return child


def _start() -> "subprocess.Popen[bytes]":
    path = os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path)
    environment = {**os.environ, "PYTHONPATH": path}
    child = subprocess.Popen(
        [sys.executable, "-m", CHILD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        start_new_session=True,  # Ctrl-C is for the worker, which then decides
    )
    log.debug("a process for CPU nodes is started", pid=child.pid)
    return child


def _end(child: "subprocess.Popen[bytes]") -> None:
    """Kill it, and what it has started."""
    if child.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _shut(close: Callable[[], None]) -> None:
    try:
        close()
    except OSError as error:
        log.debug("a pipe of a killed process could not be flushed", error=str(error))


def _check_findable(node_class: type[BaseNode]) -> None:
    module = node_class.__module__
    found: Any = sys.modules.get(module)
    for part in node_class.__qualname__.split("."):
        found = getattr(found, part, None)
    if module == "__main__" or found is not node_class:
        raise UsageError(
            f"another process can't find the class {node_class.__qualname__} of {module}: a CPU node stands at the top "
            "of a module (not in a function, not in the main script), under its own name"
        )


def _answer(message: Mapping[str, Any], ctx: Context) -> dict[str, Any] | None:
    """What a child asked for, or None if it only told something."""
    if "get" in message:
        value = getattr(ctx, message["get"])
        if message["get"] == "arrivals":
            value = [[one.node, one.output, one.path] for one in value]
        return {"value": value}
    if "draw" in message:
        return {"value": {"now": ctx.now, "random": ctx.random, "uuid": ctx.uuid}[message["draw"]]()}
    if "log" in message:
        ctx.log(message["log"], level=message["level"])
    elif "progress" in message:
        ctx.progress(*message["progress"])
    return None


def _result(done: Mapping[str, Any]) -> Any:
    kind, given = done["type"], {name: value for name, value in done.items() if name != "type"}
    if kind == "Stop":
        return Stop(**given)
    if kind == "Plan":
        return Plan(given.pop("nodes"), **given)
    if kind == "Route":
        targets = given.pop("targets")
        return (
            Route(*targets, **given)
            if targets
            else Route.end(**{name: given[name] for name in ("output", "reason", "confidence", "by")})
        )
    return given["output"]


def _error(message: Mapping[str, Any]) -> NodeError:
    if message.get("later"):
        return RetryLater(message["message"], delay_seconds=message["delay"])
    return FailedInProcess(code=message["failed"], message=message["message"], retryable=message["retryable"])


def _died_of(status: int) -> str:
    if status >= 0:
        return f"exit code {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"
