"""Late results: what a worker without a lease has to say of an attempt whose outcome nobody knows.

Its lease is gone, so it decides nothing. But whoever has to resolve the doubt should see what it says.
"""

from orchestrator.errors import Conflict
from orchestrator.kernel.commands import NoteLate
from orchestrator.kernel.events import LateResultNoted
from orchestrator.kernel.status import TaskStatus
from orchestrator.kernel.turn import Turn


def note_late(turn: Turn, command: NoteLate) -> None:
    """Keep the result beside the doubt: once, of the attempt that is in doubt or will be, and of what is open in it."""
    task = turn.open_task(command.path)
    if (
        task.status not in (TaskStatus.READY, TaskStatus.IN_DOUBT)
        or not task.touched
        or task.late_result is not None
    ):
        raise Conflict(f"nobody asks for a late result of `{task.path}`", reason="late_not_asked")
    step = task.open_step.step if task.open_step is not None else None
    if command.attempt != task.attempt or command.step != step:
        raise Conflict(f"`{task.path}` is not in doubt of that", reason="late_not_asked")
    turn.emit(
        LateResultNoted(
            path=task.path,
            node=task.node,
            attempt=command.attempt,
            result=command.result,
            step=command.step,
            worker=command.worker,
        )
    )
