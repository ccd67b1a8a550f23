"""The statuses of a run and of a task, and every legal move between them: one table each.

`apply` checks each move against these tables, and the diagrams in the docs are drawn from them
(`python -m orchestrator.kernel.diagram`), so neither can drift from what the code does.
"""

from enum import StrEnum

from orchestrator.errors import InternalError


class RunStatus(StrEnum):
    """How a run is doing."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def live(self) -> bool:
        """Something may still happen by itself. A failed run is over, although it can be retried."""
        return self not in _OVER


class TaskStatus(StrEnum):
    """How a task is doing. `running` is what observers see of a `ready` task that a worker holds."""

    READY = "ready"
    RUNNING = "running"
    WAITING = "waiting"
    IN_DOUBT = "in_doubt"
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


_OVER = frozenset({RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.CANCELLED})

_R = RunStatus
RUN_MOVES: dict[tuple[RunStatus, RunStatus], str] = {
    (_R.QUEUED, _R.RUNNING): "a task recorded something",
    (_R.QUEUED, _R.WAITING): "its only task waits",
    (_R.QUEUED, _R.PAUSED): "run_paused",
    (_R.QUEUED, _R.CANCELLING): "cancel_requested",
    (_R.QUEUED, _R.SUCCEEDED): "run_succeeded (a fork with nothing left to do)",
    (_R.RUNNING, _R.WAITING): "all open tasks wait",
    (_R.RUNNING, _R.PAUSED): "run_paused",
    (_R.RUNNING, _R.CANCELLING): "cancel_requested",
    (_R.RUNNING, _R.SUCCEEDED): "run_succeeded",
    (_R.RUNNING, _R.FAILED): "run_failed",
    (_R.WAITING, _R.RUNNING): "a wait is over",
    (_R.WAITING, _R.PAUSED): "run_paused",
    (_R.WAITING, _R.CANCELLING): "cancel_requested",
    (_R.PAUSED, _R.QUEUED): "run_resumed",
    (_R.PAUSED, _R.RUNNING): "run_resumed",
    (_R.PAUSED, _R.WAITING): "run_resumed",
    (_R.PAUSED, _R.CANCELLING): "cancel_requested",
    (_R.PAUSED, _R.SUCCEEDED): "run_succeeded",
    (_R.PAUSED, _R.FAILED): "run_failed",
    (_R.CANCELLING, _R.CANCELLED): "run_cancelled",
    (_R.FAILED, _R.RUNNING): "run_retried",
    (_R.FAILED, _R.WAITING): "run_retried, a `for_each` or a plan goes on",
    (_R.FAILED, _R.QUEUED): "run_retried, nothing was recorded yet",
}

_T = TaskStatus
TASK_MOVES: dict[tuple[TaskStatus, TaskStatus], str] = {
    (_T.READY, _T.COMPLETED): "task_completed",
    (_T.READY, _T.READY): "task_failed, to be tried again; task_suspended, an answer was there already",
    (_T.READY, _T.FAILED): "task_failed",
    (_T.READY, _T.SKIPPED): "task_skipped",
    (_T.READY, _T.CANCELLED): "task_cancelled",
    (_T.READY, _T.WAITING): "task_suspended; items_started; graph_extended",
    (_T.READY, _T.IN_DOUBT): "task_in_doubt",
    (_T.WAITING, _T.READY): "task_resumed; plan_finished",
    (_T.WAITING, _T.COMPLETED): "task_completed, its items or plan are done",
    (_T.WAITING, _T.FAILED): "task_failed, one of its items did or its plan",
    (_T.WAITING, _T.CANCELLED): "task_cancelled",
    (_T.IN_DOUBT, _T.READY): "task_resolved: retry",
    (_T.IN_DOUBT, _T.COMPLETED): "task_resolved: done",
    (_T.IN_DOUBT, _T.SKIPPED): "task_resolved: skip",
    (_T.IN_DOUBT, _T.FAILED): "task_resolved: fail",
    (_T.IN_DOUBT, _T.CANCELLED): "task_cancelled",
    (_T.FAILED, _T.READY): "run_retried",
    (_T.CANCELLED, _T.READY): "run_retried",
    (_T.FAILED, _T.WAITING): "run_retried, its items or plan go on",
    (_T.CANCELLED, _T.WAITING): "run_retried, its items or plan go on",
}


def check_run_move(old: RunStatus, new: RunStatus) -> None:
    """Raises InternalError for a move that isn't in the table."""
    if old is not new and (old, new) not in RUN_MOVES:
        raise InternalError(f"a run can't go from {old.value} to {new.value}")


def check_task_move(old: TaskStatus, new: TaskStatus) -> None:
    """Raises InternalError for a move that isn't in the table."""
    if (old, new) not in TASK_MOVES:
        raise InternalError(f"a task can't go from {old.value} to {new.value}")
