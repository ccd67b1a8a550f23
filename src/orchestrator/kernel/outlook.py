"""What a state asks of the world: its queue rows, its messages, and the wakers of a live run.

All of this is derived: `work_of` says what a group of events changes in the queue, `expected_rows` what should be
there at all. The reconciler compares the two, so a lost row is found and put back. `wakers_of` names what will move
the run on; a live run without a waker is a bug.
"""

from collections.abc import Sequence

import msgspec

from orchestrator.kernel.events import (
    CancelRequested,
    Event,
    RunCancelled,
    RunFailed,
    RunPaused,
    RunResumed,
    RunRetried,
    RunStarted,
    RunStopping,
    RunSucceeded,
    TaskCancelled,
    TaskEvent,
    TaskFailed,
    TaskResolved,
    TaskResumed,
    TaskScheduled,
    TaskSuspended,
)
from orchestrator.kernel.messages import AnyMessage, CancelChild, ChildEnded, StartChild
from orchestrator.kernel.runs import active_us
from orchestrator.kernel.state import RunState, TaskState
from orchestrator.kernel.status import RunStatus, TaskStatus
from orchestrator.kernel.values import ErrorInfo, Parent, Wait
from orchestrator.model.definition import Definition
from orchestrator.model.limits import BUDGET_DURATION_SECONDS

GRACE = "#grace"
BUDGET = "#budget"
"""Queue rows of the run itself: `#` can't begin a node's id."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A queue row that a run needs: execute a task, or a timer. `due_us` 0: at once."""

    path: str
    timer: bool = False
    due_us: int = 0


class Work(msgspec.Struct, kw_only=True):
    """What a commit changes beside the journal. `hold`: None leaves the run's hold as it is."""

    rows: list[Row] = []
    withdraw: list[str] = []
    messages: list[AnyMessage] = []
    hold: bool | None = None


def message_path(message: AnyMessage) -> str:
    """The queue path of a message; one for each receiver and kind, so that a repeat is the same row."""
    match message:
        case StartChild():
            return f">start/{message.to}"
        case CancelChild():
            return f">cancel/{message.to}"
        case ChildEnded():
            return f">ended/{message.to}/{message.path}/{message.step}"


# Events after which a task's queue row must be looked at. Steps and starts leave it where it is.
_TOUCHING = (TaskScheduled, TaskFailed, TaskSuspended, TaskResumed, TaskResolved)


def work_of(events: Sequence[Event], state: RunState, definition: Definition) -> Work:
    """What these events, the last that were applied to `state`, change in the run's queue."""
    work = Work()
    touched: dict[str, None] = {}
    for event in events:
        kind = type(event)
        if kind in _TOUCHING:
            assert isinstance(event, TaskEvent)
            touched[event.path] = None
            if isinstance(event, TaskSuspended) and event.children:
                work.messages.extend(_child_starts(state, event))
        elif isinstance(event, TaskCancelled):
            work.withdraw.append(event.path)
            work.messages.extend(_child_cancels(state, event.path))
        elif kind in _OF_THE_RUN:
            _work_of_run_event(event, state, definition, work, touched)
    for path in touched:
        task = state.tasks.get(path)
        row = row_of(task) if task is not None else None
        if row is not None:
            work.rows.append(row)
    return work


_OF_THE_RUN = (
    RunStarted,
    RunRetried,
    RunPaused,
    RunResumed,
    RunStopping,
    CancelRequested,
    RunSucceeded,
    RunFailed,
    RunCancelled,
)


def _work_of_run_event(
    event: Event, state: RunState, definition: Definition, work: Work, touched: dict[str, None]
) -> None:
    if isinstance(event, RunStarted | RunRetried):
        touched.update(dict.fromkeys(event.reopened))
        row = _budget_row(state, definition)
        if row is not None:
            work.rows.append(row)
    elif isinstance(event, RunPaused):
        work.hold = True
    elif isinstance(event, RunResumed):
        work.hold = False
    elif isinstance(event, RunStopping | CancelRequested):
        work.hold = False
        if state.ending is not None and state.tasks:
            work.rows.append(Row(path=GRACE, timer=True, due_us=state.ending.grace_until_us))
    elif isinstance(event, RunSucceeded | RunFailed | RunCancelled):
        work.withdraw.extend((GRACE, BUDGET) if _has_own_timers(definition, state) else ())
        if state.parent is not None:
            work.messages.append(_ended(state, state.parent))


def _has_own_timers(definition: Definition, state: RunState) -> bool:
    ended_early = state.status is not RunStatus.SUCCEEDED or bool(state.set_aside)
    return ended_early or _limits_duration(definition)


def _limits_duration(definition: Definition) -> bool:
    """Whether the workflow itself limits its duration; the default of a year needs no timer, only a look now and then."""
    return definition.budget_duration_us < BUDGET_DURATION_SECONDS * 1_000_000


def _budget_row(state: RunState, definition: Definition) -> Row | None:
    if not _limits_duration(definition):
        return None
    since = state.active_since_us or 0
    return Row(path=BUDGET, timer=True, due_us=since + definition.budget_duration_us - state.active_us)


def next_budget_row(state: RunState, definition: Definition, now_us: int) -> Row | None:
    """The row to set when a budget timer came and the budget isn't spent yet. A waiting run is looked at again later."""
    if not state.status.live or not _limits_duration(definition):
        return None
    left = definition.budget_duration_us - active_us(state, now_us)
    pause = left if state.active_since_us is not None else max(left, 60_000_000)
    return Row(path=BUDGET, timer=True, due_us=now_us + max(pause, 1_000))


def row_of(task: TaskState) -> Row | None:
    """The queue row that an open task needs; None for one that waits for something else than time."""
    if task.status is TaskStatus.READY:
        return Row(path=task.path, due_us=task.not_before_us)
    if task.status is TaskStatus.WAITING:
        dues = [wait.due_us for wait in task.waits.values() if wait.due_us is not None]
        if dues:
            return Row(path=task.path, timer=True, due_us=min(dues))
    return None


def expected_rows(state: RunState, definition: Definition) -> list[Row]:
    """Every queue row that the run should have (messages aside: they leave no trace in the state)."""
    if not state.status.live:
        return []
    rows = [row for task in state.tasks.values() if (row := row_of(task)) is not None]
    if state.ending is not None and state.tasks:
        rows.append(Row(path=GRACE, timer=True, due_us=state.ending.grace_until_us))
    return rows


# --- messages -----------------------------------------------------------------------------------------------------


def _child_starts(state: RunState, event: TaskSuspended) -> list[AnyMessage]:
    starts: list[AnyMessage] = []
    for wait in event.waits:
        if wait.run in event.children and wait.workflow is not None:
            starts.append(
                StartChild(
                    to=wait.run,
                    workflow=wait.workflow,
                    version=wait.version,
                    input=wait.input,
                    namespace=state.namespace,
                    parent=Parent(run=state.run_id, path=event.path, step=wait.step),
                    depth=state.depth + 1,
                )
            )
    return starts


def _child_cancels(state: RunState, path: str) -> list[AnyMessage]:
    task = state.set_aside.get(path)
    waits = task.waits.values() if task is not None else ()
    return [CancelChild(to=w.run) for w in waits if w.kind == "child" and w.run is not None]


def _ended(state: RunState, parent: Parent) -> ChildEnded:
    error = state.error
    if state.status is RunStatus.CANCELLED:
        error = ErrorInfo(type="child_cancelled", message=f"run {state.run_id} was cancelled", retryable=False)
    return ChildEnded(
        to=parent.run, run=state.run_id, path=parent.path, step=parent.step, output=state.output, error=error
    )


# --- wakers -------------------------------------------------------------------------------------------------------


class Waker(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What will move a run, or one of its tasks, on.

    kinds: `queue` (a worker that takes the task), `timer` (`at_us`), `signal` (`name`), `child` (`run`), `operator`
    (a person: resume, or resolve a doubt), `grace` (the end of a stopping run's patience, `at_us`).
    """

    kind: str
    path: str | None = None
    node: str | None = None
    at_us: int | None = None
    name: str | None = None
    run: str | None = None
    reason: str | None = None


def wakers_of(state: RunState) -> list[Waker]:
    """Everything that will move a live run on. Never empty for a live run: that is an invariant."""
    if not state.status.live:
        return []
    wakers: list[Waker] = []
    if state.paused:
        wakers.append(Waker(kind="operator", reason="paused"))
    for task in state.tasks.values():
        wakers.extend(_wakers_of_task(task))
    if state.ending is not None and state.tasks:
        wakers.append(Waker(kind="grace", at_us=state.ending.grace_until_us))
    return wakers


def _wakers_of_task(task: TaskState) -> list[Waker]:
    if task.status is TaskStatus.READY:
        if task.not_before_us and task.error is not None:
            return [Waker(kind="timer", path=task.path, node=task.node, at_us=task.not_before_us, reason="retry")]
        return [Waker(kind="queue", path=task.path, node=task.node)]
    if task.status is TaskStatus.IN_DOUBT:
        return [Waker(kind="operator", path=task.path, node=task.node, reason="in_doubt")]
    return [_waker_of_wait(task, wait) for wait in task.waits.values()]


def _waker_of_wait(task: TaskState, wait: Wait) -> Waker:
    return Waker(
        kind=wait.kind, path=task.path, node=task.node, at_us=wait.due_us, name=wait.name or wait.workflow, run=wait.run
    )
