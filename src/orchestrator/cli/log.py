"""The log of `dev`, `serve` and `worker`: what the engine does, step by step, in words; on stderr.

Text for people, JSON lines for machines. Events are told where their commit was made (each once, whatever the number of
processes), a start as soon as a task has run long enough to be announced.
"""

import logging
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from datetime import UTC, datetime
from typing import IO, Any

import msgspec
import structlog

from orchestrator.cli.console import BOLD, DIM, RED, YELLOW, clean, coloured
from orchestrator.config import Settings
from orchestrator.engine import story
from orchestrator.engine.engine import Engine
from orchestrator.kernel.events import Event
from orchestrator.kernel.state import RunState
from orchestrator.stores.contract import Notice, Wake

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_COLOURS = {"debug": DIM, "warning": YELLOW, "error": RED, "critical": f"{BOLD};{RED}"}


def configure(settings: Settings, *, stream: IO[str] | None = None) -> None:
    """Send our log and that of the libraries to stderr, in the form and from the level that the settings ask for."""
    target = stream if stream is not None else sys.stderr
    level = LEVELS[settings.log_level]
    renderer = _as_json if settings.log_format == "json" else _Text(coloured(target))
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(target),  # pyright: ignore[reportArgumentType] (wants TextIO)
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(handlers=[_Forward()], level=max(level, logging.WARNING), force=True)
    logging.getLogger("orchestrator").setLevel(level)


class _Forward(logging.Handler):
    """Hands what libraries log to our log."""

    def emit(self, record: logging.LogRecord) -> None:
        log: Any = structlog.get_logger()
        try:
            said = record.getMessage()
        except (TypeError, ValueError):  # a library's format and arguments don't fit
            said = str(record.msg)
        log.log(record.levelno, said, source=record.name, exc_info=record.exc_info or None)


def _now() -> datetime:
    return datetime.now(UTC)


def _as_json(_: Any, __: str, entry: MutableMapping[str, Any]) -> str:
    at = _now().isoformat(timespec="microseconds").replace("+00:00", "Z")
    level, message = entry.pop("level", "info"), entry.pop("event", "")
    line = {"at": at, "level": level, "message": str(message), **entry}
    return msgspec.json.encode(line, enc_hook=repr).decode("utf-8", "replace")


class _Text:
    """`16:00:00.123  step_a completed in 12 ms  run_…`."""

    def __init__(self, colours: bool) -> None:
        self._colours = colours

    def __call__(self, _: Any, __: str, entry: MutableMapping[str, Any]) -> str:
        level, message = str(entry.pop("level", "info")), clean(str(entry.pop("event", "")))
        trace, run = entry.pop("exception", None), entry.pop("run", None)
        at = _now().astimezone().strftime("%H:%M:%S.%f")[:-3]
        loud = f"{level}: " if level in ("warning", "error", "critical") else ""
        rest = "".join(f"  {key}={clean(str(value))}" for key, value in entry.items() if value is not None)
        rest += f"  {clean(str(run))}" if run else ""
        line = f"{self._paint(at, DIM)}  {self._paint(loud + message, _COLOURS.get(level, ''))}{self._paint(rest, DIM)}"
        return f"{line}\n{trace}" if trace else line

    def _paint(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colours and code and text else text


class Storyteller:
    """Tells what an engine's runs do, in the log."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._log: Any = structlog.get_logger("orchestrator")
        engine.observers.append(self._observe)
        self._unsubscribe = engine.store.subscribe(self._noticed)

    def close(self) -> None:
        """Tell no more."""
        self._engine.observers.remove(self._observe)
        self._unsubscribe()

    def _observe(self, state: RunState, events: Sequence[Event]) -> None:
        for event in events:
            level, text = story.tell(event)
            getattr(self._log, level)(text, run=state.run_id)

    def _noticed(self, wake: Wake) -> None:
        if not isinstance(wake, Notice):
            return
        notice: Mapping[str, Any] = msgspec.json.decode(wake.data, type=dict[str, Any])
        # Of another process's tasks its own log tells; log lines of tasks the worker itself writes.
        if notice.get("worker") == self._engine.worker_name and notice.get("kind") == "task_started":
            self._log.info(story.tell_notice(notice).text, run=wake.run_id)
