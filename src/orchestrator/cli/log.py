"""The log of `dev`, `serve` and `worker`: what the engine does, step by step, in words; on stderr.

Events are told where their commit was made (see `bootstrap`), each once, whatever the number of processes; a start as
soon as a task has run long enough to be announced.
"""

import sys
from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog

from orchestrator.bootstrap import configure_logging
from orchestrator.cli.console import BOLD, DIM, RED, YELLOW, clean, coloured
from orchestrator.config import Settings
from orchestrator.engine.engine import Engine
from orchestrator.engine.views import story
from orchestrator.stores.contract import Notice, Wake

_COLOURS = {"debug": DIM, "warning": YELLOW, "error": RED, "critical": f"{BOLD};{RED}"}
_LOUD = ("warning", "error", "critical")
_UNSAID = ("timestamp", "workflow", "logger")
"""What a line for people leaves out: the time is said first, the workflow stands in the run's first line."""


def configure(settings: Settings) -> None:
    """Log to stderr, in the form and from the level that the settings ask for."""
    configure_logging(settings, text=TextLines(colours=coloured(sys.stderr)))


class TextLines:
    """`16:00:00.123  step_a completed in 12 ms  run_…`: local time, the sentence, what it is about."""

    def __init__(self, *, colours: bool) -> None:
        self._colours = colours

    def __call__(self, _logger: Any, _method: str, entry: MutableMapping[str, Any]) -> str:
        level, message = str(entry.pop("level", "info")), clean(str(entry.pop("event", "")))
        trace, run, task = entry.pop("exception", None), entry.pop("run", None), entry.pop("task", None)
        # A task's own words begin with its name, as every other line about it does.
        message = f"{clean(str(task))}: {message}" if task else message
        facts = [
            f"{key}={clean(str(fact))}"
            for key, fact in entry.items()
            if key not in _UNSAID and fact is not None
        ]
        rest = "  ".join([*facts, clean(str(run))] if run else facts)
        at = datetime.now(UTC).astimezone().strftime("%H:%M:%S.%f")[:-3]
        said = f"{level}: {message}" if level in _LOUD else message
        line = f"{self._paint(at, DIM)}  {self._paint(said, _COLOURS.get(level, ''))}"
        line += f"  {self._paint(rest, DIM)}" if rest else ""
        return f"{line}\n{trace}" if trace else line

    def _paint(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colours and code else text


class Starts:
    """Tells in the log which tasks a worker is at, once they have run for a moment."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._log: Any = structlog.get_logger("orchestrator.run")
        self._unsubscribe = engine.store.subscribe(self._noticed)

    def close(self) -> None:
        """Tell no more."""
        self._unsubscribe()

    def _noticed(self, wake: Wake) -> None:
        if not isinstance(wake, Notice):
            return
        notice = msgspec.json.decode(wake.data, type=dict[str, Any])
        # Another process's tasks are told in its own log.
        if notice.get("kind") == "task_started" and notice.get("worker") == self._engine.worker_name:
            self._log.info(story.tell_notice(notice).text, run=wake.run_id, workflow=wake.workflow)
