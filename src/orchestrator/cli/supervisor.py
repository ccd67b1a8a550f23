"""The workers of `serve`: processes of their own that are started again when they die.

A worker's stdin is a pipe from here. However this process ends, kill -9 included, the pipe closes and the worker ends
too. Workers have process groups of their own, so that Ctrl-C in a terminal reaches only this process, which then ends
them in order.
"""

import asyncio
import contextlib
import os
import sys
import time
from asyncio.subprocess import PIPE, Process
from typing import Any

import structlog
from pydantic import SecretStr

from orchestrator.config import PREFIX, Settings

BACKOFF_SECONDS = 0.5
BACKOFF_SECONDS_MAX = 30.0
STEADY_SECONDS = 30.0
"""Who lived so long is started again without delay."""
KILL_AFTER_SECONDS = 5.0
"""Beyond what a worker may take to drain."""

log: Any = structlog.get_logger("orchestrator.supervisor")


def environment_of(settings: Settings) -> dict[str, str]:
    """The environment in which a process finds the same settings, wherever they came from."""
    environment = dict(os.environ)
    for name in type(settings).model_fields:
        if name in ("host", "port", "api_key", "dev"):
            continue  # a worker listens nowhere
        value: object = getattr(settings, name)
        if isinstance(value, SecretStr):
            value = value.get_secret_value()
        elif value is None:
            continue
        several = name in ("nodes", "allowed_hosts", "cors_origins", "queues")
        environment[PREFIX + name.upper()] = ",".join(getattr(settings, name)) if several else str(value)
    environment.pop(PREFIX + "CONFIG", None)
    environment.pop(PREFIX + "HOST", None)
    return environment


class Supervisor:
    """`start`, then `stop`; `hurry` makes a `stop` that waits end at once."""

    def __init__(self, settings: Settings, *, count: int) -> None:
        self._environment = environment_of(settings)
        self._kill_after = settings.shutdown_seconds + KILL_AFTER_SECONDS
        self._count = count
        self._stopping = asyncio.Event()
        self._slots: list[asyncio.Task[None]] = []
        self._processes: dict[int, Process] = {}

    def start(self) -> None:
        """Begin to keep the workers running."""
        for number in range(1, self._count + 1):
            self._slots.append(asyncio.create_task(self._keep(number), name=f"worker process {number}"))

    async def stop(self) -> None:
        """Let every worker drain and end; kill those that don't in time."""
        self._stopping.set()
        for process in self._processes.values():
            _terminate(process)
        if not self._slots:
            return
        _, late = await asyncio.wait(self._slots, timeout=self._kill_after)
        if late:
            for process in self._processes.values():
                log.warning(
                    "a worker doesn't end and is killed; its tasks are offered again", pid=process.pid
                )
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
            await asyncio.wait(late)
        for slot in self._slots:
            slot.result()

    def hurry(self) -> None:
        """Tell workers that are ending to do so at once."""
        for process in self._processes.values():
            _terminate(process)

    async def _keep(self, number: int) -> None:
        backoff = 0.0
        while not self._stopping.is_set():
            began = time.monotonic()
            process = await self._spawn()
            self._processes[number] = process
            if self._stopping.is_set():
                _terminate(process)
            log.info(f"worker {number} started", pid=process.pid)
            code = await process.wait()
            del self._processes[number]
            if self._stopping.is_set():
                return
            lived = time.monotonic() - began
            backoff = (
                0.0 if lived > STEADY_SECONDS else min(max(BACKOFF_SECONDS, backoff * 2), BACKOFF_SECONDS_MAX)
            )
            again = f"again in {backoff:g} s" if backoff else "again now"
            log.error(
                f"worker {number} {_how(code)} after {lived:.1f} s; it is started {again}", pid=process.pid
            )
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(backoff):
                    await self._stopping.wait()

    async def _spawn(self) -> Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "orchestrator.cli",
            "worker",
            "--until-stdin-closes",
            stdin=PIPE,
            env=self._environment,
            start_new_session=True,
        )


def _terminate(process: Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()


def _how(code: int) -> str:
    return f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
