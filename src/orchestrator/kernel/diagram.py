"""The two status machines as Mermaid diagrams, drawn from the tables that `apply` checks.

    python -m orchestrator.kernel.diagram

prints what stands between the marks in `docs/architecture.md`; a test holds the page to it.
"""

import sys
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import TypeVar

from orchestrator.kernel.status import RUN_MOVES, TASK_MOVES, RunStatus, TaskStatus

Status = TypeVar("Status", bound=StrEnum)

RUN_ENDS = tuple(status for status in RunStatus if not status.live)
TASK_ENDS = (TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.SKIPPED, TaskStatus.CANCELLED)


def mermaid(moves: Mapping[tuple[Status, Status], str], *, start: Status, ends: Iterable[Status]) -> str:
    """A state diagram of the moves, in the order of the table."""
    lines = ["stateDiagram-v2", f"    [*] --> {start.value}"]
    lines += [f"    {old.value} --> {new.value}: {_label(why)}" for (old, new), why in moves.items()]
    lines += [f"    {end.value} --> [*]" for end in ends]
    return "\n".join(lines)


def _label(why: str) -> str:
    """Mermaid takes a colon or a semicolon for the end of something."""
    return why.replace(": ", " = ").replace("; ", ", or ")


def diagrams() -> str:
    """Both diagrams as they stand in the page."""
    run = mermaid(RUN_MOVES, start=RunStatus.QUEUED, ends=RUN_ENDS)
    task = mermaid(TASK_MOVES, start=TaskStatus.READY, ends=TASK_ENDS)
    return f"The status of a run:\n\n```mermaid\n{run}\n```\n\nThe status of a task:\n\n```mermaid\n{task}\n```\n"


if __name__ == "__main__":
    sys.stdout.write(diagrams())
