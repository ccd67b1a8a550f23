"""Live notices: tasks that take a while are announced, with their log lines and their progress.

A notice is told to whoever watches at this moment; it isn't journalled, and may be lost.
"""

from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from orchestrator.engine.attempts.live import LogLine
from orchestrator.kernel.values import rfc3339
from orchestrator.stores.contract import Notice

if TYPE_CHECKING:
    from orchestrator.engine.attempts.attempt import Attempt
    from orchestrator.engine.engine import Engine

ANNOUNCE_AFTER_SECONDS = 0.05
"""A task that takes longer than this is announced."""

log: Any = structlog.get_logger("orchestrator.task")


class Announcer:
    """Tells what the tasks of one worker are doing."""

    def __init__(self, engine: "Engine", worker: str) -> None:
        self._engine = engine
        self._worker = worker
        self._unannounced: list[Attempt] = []

    def began(self, attempt: "Attempt") -> None:
        """The node's code is about to run."""
        if not self._unannounced:
            self._engine.loop.call_later(ANNOUNCE_AFTER_SECONDS, self._announce)
        self._unannounced.append(attempt)

    def log_line(self, attempt: "Attempt", line: LogLine) -> None:
        """A line of a task's log; called from any thread."""
        self._engine.logs.add(attempt.run_id, attempt.path, line)
        self._notify(attempt, "task_log", at=line.at, level=line.level, message=line.message)
        log.info(line.message, run=attempt.run_id, task=attempt.path)

    def progressed(self, attempt: "Attempt", done: float, total: float | None, message: str | None) -> None:
        """How far a task is; called from any thread."""
        at = rfc3339(self._engine.now_us())
        self._notify(attempt, "task_progress", at=at, done=done, total=total, message=message)

    def _announce(self) -> None:
        waiting, self._unannounced = self._unannounced, []
        now_us = self._engine.now_us()
        later: list[Attempt] = []
        for attempt in waiting:
            if not attempt.running or attempt.announced:
                continue
            # What runs ahead of the disk isn't shown: it may be thrown away.
            if now_us - attempt.started_us < ANNOUNCE_AFTER_SECONDS * 500_000 or not attempt.epoch:
                later.append(attempt)
                continue
            attempt.announced = True
            self._notify(attempt, "task_started", at=rfc3339(attempt.started_us))
        if later or self._unannounced:
            self._unannounced.extend(later)
            self._engine.loop.call_later(ANNOUNCE_AFTER_SECONDS, self._announce)

    def _notify(self, attempt: "Attempt", kind: str, **fields: Any) -> None:
        facts = {"kind": kind, "path": attempt.path, "node": attempt.node.id, "attempt": attempt.number}
        if not attempt.epoch:
            return
        data = msgspec.json.encode({**facts, "worker": self._worker, **fields})
        self._engine.store.notify(Notice(run_id=attempt.run_id, workflow=attempt.workflow, data=data))
