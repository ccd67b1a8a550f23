"""A run as it goes, in a terminal or a file: each step and each decision one line, in words.

In a terminal the last line says what runs at this moment, and for how long.
"""

import asyncio
import shutil
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self, TextIO

from orchestrator.cli.console import BOLD, CYAN, DIM, GREEN, RED, YELLOW, clean, coloured
from orchestrator.engine.views import story

TICK_SECONDS = 0.1
SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
SHOWN_MAX = 4
_MARKS = {
    "decision_made": ("◆", CYAN),
    "task_completed": ("✓", GREEN),
    "task_failed": ("✗", RED),
    "task_skipped": ("↷", DIM),
    "task_suspended": ("…", YELLOW),
    "task_resumed": ("▸", ""),
    "run_succeeded": ("✓", GREEN),
    "run_failed": ("✗", RED),
}
_LEVELS = {
    "success": ("✓", f"{BOLD};{GREEN}"),
    "debug": ("·", DIM),
    "info": ("·", ""),
    "warning": ("!", YELLOW),
    "error": ("✗", RED),
}
_ENDS = ("task_completed", "task_failed", "task_skipped", "task_cancelled", "task_suspended", "task_in_doubt")
_LAST = ("run_succeeded", "run_failed", "run_cancelled")


class Progress:
    """Tells a run on a stream. As a context it also keeps the status line of a terminal up to date."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._colours = coloured(stream)
        self._running: dict[str, float] = {}
        self._spoke: set[str] = set()
        self._began = time.monotonic()
        self._ticking: asyncio.Task[None] | None = None
        self._frame = 0

    def __enter__(self) -> Self:
        if self._colours:
            self._ticking = asyncio.get_running_loop().create_task(self._tick(), name="progress")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._ticking is not None:
            self._ticking.cancel()
            self._write("")

    def event(self, view: Mapping[str, Any]) -> None:
        """An event of the journal, as the API shows it."""
        kind, path = view.get("kind", ""), view.get("path", "")
        if kind == "task_scheduled" and path:
            self._running.setdefault(path, time.monotonic())
        elif kind == "task_resumed":
            self._running[path] = time.monotonic()
        elif kind in _ENDS and not (kind == "task_failed" and view.get("retry_us")):
            self._running.pop(path, None)
        level, text = story.tell_view(view)
        # How the run ended is said once, by whoever has the whole of it.
        if level != "debug" and kind not in _LAST:
            self._line(level, text, _MARKS.get(kind) if level != "error" else None)

    def notice(self, notice: Mapping[str, Any]) -> None:
        """A live notice."""
        path, started = notice.get("path", ""), notice.get("kind") == "task_started"
        # A start is announced a moment late: not after the task itself has said something.
        if started and (path in self._spoke or not notice.get("attempt")):
            return
        self._spoke.add(path)
        level, text = story.tell_notice(notice)
        if level != "debug":
            self._line(level, text, ("▸", DIM) if started else None)

    def line(self, level: str, text: str) -> None:
        """A line of our own."""
        self._line(level, text, None)

    def _line(self, level: str, text: str, mark: tuple[str, str] | None) -> None:
        sign, colour = mark or _LEVELS.get(level, _LEVELS["info"])
        body = clean(text).replace("\n", "\n    ")
        if not self._colours:
            self._write(f"{self._since()}  {body}\n")
            return
        whole = level in ("error", "debug", "success")
        painted = _paint(f"{sign} {body}", colour) if whole else f"{_paint(sign, colour)} {body}"
        self._write(f"{_paint(self._since(), DIM)}  {painted}\n")

    def _since(self) -> str:
        return f"{time.monotonic() - self._began:7.2f}"

    def _write(self, text: str) -> None:
        text = ("\r\x1b[K" if self._colours else "") + text
        encoding = self._stream.encoding or "utf-8"
        self._stream.write(text.encode(encoding, "replace").decode(encoding))
        self._stream.flush()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self._frame += 1
            if self._running:
                self._write(self._status())

    def _status(self) -> str:
        now = time.monotonic()
        shown = [f"{path} {now - since:.1f} s" for path, since in list(self._running.items())[:SHOWN_MAX]]
        more = len(self._running) - len(shown)
        text = ", ".join(shown) + (f" and {more} more" if more > 0 else "")
        width = shutil.get_terminal_size().columns - 13
        return f"{' ' * 7}  {_paint(SPINNER[self._frame % len(SPINNER)], CYAN)} {_paint(clean(text)[:width], DIM)}"


class Silent(Progress):
    """Tells nothing."""

    def __init__(self) -> None:
        import sys

        super().__init__(sys.stderr)
        self._colours = False

    def _write(self, text: str) -> None:
        pass


def _paint(text: str, code: str) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if code else text
