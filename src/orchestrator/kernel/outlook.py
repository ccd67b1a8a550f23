"""What a state asks of the world: its queue rows, its messages, and the wakers of a live run.

All of this is derived: `work_of` says what a group of events changes in the queue, `expected_rows` what should be
there at all. The reconciler compares the two, so a lost row is found and put back. `wakers_of` names what will move
the run on; a live run without a waker is a bug.
"""

from collections.abc import Sequence

import msgspec

from orchestrator.kernel.budgets import duration_limit_us, limits_duration
from orchestrator.kernel.events import (
    BudgetExceeded,
    BudgetRaised,
    CancelRequested,
    CompensationStarted,
    Event,
    PlanFinished,
    RunCancelled,
    RunContinued,
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
from orchestrator.kernel.handover import known_as
from orchestrator.kernel.messages import AnyMessage, CancelChild, ChildEnded, StartChild, StartSuccessor
from orchestrator.kernel.runs import active_us
from orchestrator.kernel.state import RunState, TaskState
from orchestrator.kernel.status import RunStatus, TaskStatus
from orchestrator.kernel.values import ErrorInfo, Parent, Wait
from orchestrator.model.definition import Definition

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
        case StartChild() | StartSuccessor():
            return f">start/{message.to}"
        case CancelChild():
            return f">cancel/{message.to}"
        case ChildEnded():
            return f">ended/{message.to}/{message.path}/{message.step}"


# Events after which a task's queue row must be looked at. Steps and starts leave it where it is.
_TOUCHING = frozenset({TaskScheduled, TaskFailed, TaskSuspended, TaskResumed, TaskResolved, PlanFinished})


def work_of(events: Sequence[Event], state: RunState, definition: Definition) -> Work:
    """What these events, the last that were applied to `state`, change in the run's queue."""
    work = Work()
    touched: dict[str, None] = {}
    for event in events:
        kind = type(event)
        if kind in _TOUCHING:
            assert isinstance(event, TaskEvent)
            touched[event.path] = None
            if isinstance(event, TaskResumed):
                # A worker may hold the timer row that the wait had: it must not be in the way of the new row.
                work.withdraw.append(event.path)
            elif isinstance(event, TaskSuspended) and event.children:
                work.messages.extend(_child_starts(state, event))
        elif isinstance(event, TaskCancelled):
            work.withdraw.append(event.path)
            work.messages.extend(CancelChild(to=child) for child in event.children)
        elif kind in _OF_THE_RUN:
            _work_of_run_event(event, state, definition, work, touched)
    for path in touched:
        row = _row_at(path, state, definition)
        if row is not None:
            work.rows.append(row)
    return work


def _row_at(path: str, state: RunState, definition: Definition) -> Row | None:
    """The row that the run needs at this path by now, whatever happened to it in between."""
    task = state.tasks.get(path)
    if task is not None:
        return row_of(task)
    if path == GRACE:
        return _grace_row(state)
    return _budget_row(state, definition) if path == BUDGET else None


_OF_THE_RUN = frozenset(
    (
        RunStarted,
        RunRetried,
        RunPaused,
        RunResumed,
        BudgetExceeded,
        BudgetRaised,
        RunStopping,
        CompensationStarted,
        RunContinued,
        CancelRequested,
        RunSucceeded,
        RunFailed,
        RunCancelled,
    )
)


def _work_of_run_event(
    event: Event, state: RunState, definition: Definition, work: Work, touched: dict[str, None]
) -> None:
    if isinstance(event, RunStarted | RunRetried):
        touched.update(dict.fromkeys(event.reopened))
        if isinstance(event, RunRetried):
            work.hold = False  # a paused run may have failed of its output
        touched[BUDGET] = None
    elif isinstance(event, RunPaused | RunResumed | BudgetExceeded | BudgetRaised):
        work.hold = state.held and state.status.live
        if isinstance(event, BudgetRaised) and event.budget == "duration":
            touched[BUDGET] = None
    elif isinstance(event, RunStopping | CancelRequested):
        work.hold = False
        if limits_duration(state, definition):
            work.withdraw.append(BUDGET)
        touched[GRACE] = None
    elif isinstance(event, CompensationStarted):
        work.withdraw.append(GRACE)
    elif isinstance(event, RunContinued):
        work.withdraw.append(GRACE)
        work.messages.append(StartSuccessor(to=event.run))
    elif isinstance(event, RunSucceeded | RunFailed | RunCancelled):
        if state.held:  # it ended while it was paused: what it still has to tell others must not be held
            work.hold = False
        if not isinstance(event, RunSucceeded) or event.stopped:
            work.withdraw.append(GRACE)
        if limits_duration(state, definition):
            work.withdraw.append(BUDGET)
        work.messages.extend(last_words(state))


def _grace_row(state: RunState) -> Row | None:
    if state.ending is None or not state.tasks or state.compensation is not None:
        return None
    return Row(path=GRACE, timer=True, due_us=state.ending.grace_until_us)


def _budget_row(state: RunState, definition: Definition) -> Row | None:
    if not _watches_duration(state, definition):
        return None
    since = state.active_since_us or 0
    limit_us = duration_limit_us(state, definition)
    return Row(path=BUDGET, timer=True, due_us=since + limit_us - state.active_us)


def _watches_duration(state: RunState, definition: Definition) -> bool:
    if not state.status.live or state.ending is not None or "duration" in state.spent_out:
        return False
    return limits_duration(state, definition)


def next_budget_row(state: RunState, definition: Definition, now_us: int) -> Row | None:
    """The row to set when a budget timer came with budget left. A waiting run is looked at again later."""
    if not _watches_duration(state, definition):
        return None
    left = duration_limit_us(state, definition) - active_us(state, now_us)
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
    """Every queue row that the run should have (messages aside: they leave no trace in the state).

    The time of the budget's row is a guess where the run waits: too early is harmless, it is then set again.
    """
    if not state.moves:
        return []
    rows = [row for task in state.tasks.values() if (row := row_of(task)) is not None]
    rows += [row for row in (_grace_row(state), _budget_row(state, definition)) if row is not None]
    return rows


# --- messages -----------------------------------------------------------------------------------------------------


def _child_starts(state: RunState, event: TaskSuspended) -> list[AnyMessage]:
    return [
        start
        for wait in event.waits
        if wait.run in event.children and (start := _child_start(state, event.path, wait)) is not None
    ]


def _child_start(state: RunState, path: str, wait: Wait) -> StartChild | None:
    if wait.run is None or wait.workflow is None:
        return None
    return StartChild(
        to=wait.run,
        workflow=wait.workflow,
        version=wait.version,
        input=wait.input,
        namespace=state.namespace,
        parent=Parent(run=state.run_id, path=path, step=wait.step),
        depth=state.depth + 1,
        priority=state.priority,
    )


def open_messages(state: RunState) -> list[StartChild | StartSuccessor]:
    """The starts that a live run waits for the outcome of: each is on its way in the queue, or was delivered."""
    messages: list[StartChild | StartSuccessor] = []
    if not state.status.live:
        return messages
    if state.handover is not None:
        messages.append(StartSuccessor(to=state.handover.run))
    for task in state.tasks.values():
        for wait in task.waits.values():
            if wait.kind == "child" and (start := _child_start(state, task.path, wait)) is not None:
                messages.append(start)
    return messages


def last_words(state: RunState) -> list[AnyMessage]:
    """What a run that is over has to tell others: each is on its way in the queue, or was delivered.

    A run that goes on as another one leaves it to that one to tell its end, and passes a cancel on to it.
    """
    if state.status.live:
        return []
    if state.handover is not None and state.status is RunStatus.CANCELLED:
        return [CancelChild(to=state.handover.run, passed_on=True)]
    handed_over = state.handover is not None and state.status is RunStatus.SUCCEEDED
    if state.parent is None or handed_over:
        return []
    output = state.output if state.status is RunStatus.SUCCEEDED else None
    error = state.error if state.status is RunStatus.FAILED else None
    if state.status is RunStatus.CANCELLED:
        message = f"run {state.run_id} was cancelled"
        error = ErrorInfo(type="child_cancelled", message=message, retryable=False)
    parent = state.parent
    ended = ChildEnded(
        to=parent.run, run=known_as(state), path=parent.path, step=parent.step, output=output, error=error
    )
    return [ended]


def awaits(state: RunState, parent: Parent, child: str) -> bool:
    """Whether the task that a child run was started for still waits for it, or has its answer."""
    task = state.tasks.get(parent.path)
    if task is None:
        return False
    wait = task.waits.get(parent.step)
    return parent.step in task.steps or (wait is not None and wait.run == child)


# --- wakers -------------------------------------------------------------------------------------------------------


class Waker(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What will move a run, or one of its tasks, on.

    kinds: `queue` (a worker that takes the task), `timer` (`at_us`), `signal` (`name`), `child` (`run`), `operator`
    (a person: resume, or resolve a doubt), `grace` (the end of a stopping run's patience, `at_us`), `successor` (the
    run `run`, which goes on for this one, is about to exist), `budget` (a person raises the budget `name`), `items`
    (the open items of a `for_each`, which have wakers of their own), `plan` (the open tasks of the plan that it laid,
    which have wakers of their own).
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
    if state.imported is not None:
        return [Waker(kind="operator", reason="imported")]
    wakers: list[Waker] = []
    if state.paused:
        wakers.append(Waker(kind="operator", reason="paused"))
    if state.handover is not None:
        wakers.append(Waker(kind="successor", run=state.handover.run))
    wakers.extend(Waker(kind="budget", name=budget, reason="top-up") for budget in state.spent_out)
    for task in state.tasks.values():
        wakers.extend(_wakers_of_task(task))
    if state.ending is not None and state.tasks and state.compensation is None:
        wakers.append(Waker(kind="grace", at_us=state.ending.grace_until_us))
    return wakers


def _wakers_of_task(task: TaskState) -> list[Waker]:
    if task.status is TaskStatus.READY:
        if task.not_before_us and (task.error is not None or task.tries):
            return [
                Waker(kind="timer", path=task.path, node=task.node, at_us=task.not_before_us, reason="retry")
            ]
        return [Waker(kind="queue", path=task.path, node=task.node)]
    if task.status is TaskStatus.IN_DOUBT:
        return [Waker(kind="operator", path=task.path, node=task.node, reason="in_doubt")]
    if task.block is not None and not task.block.done:
        return [Waker(kind="plan", path=task.path, node=task.node)] if task.block.open else []
    if task.items is not None:
        return [Waker(kind="items", path=task.path, node=task.node)] if task.items.open else []
    return [_waker_of_wait(task, wait) for wait in task.waits.values()]


def _waker_of_wait(task: TaskState, wait: Wait) -> Waker:
    return Waker(
        kind=wait.kind,
        path=task.path,
        node=task.node,
        at_us=wait.due_us,
        name=wait.name or wait.workflow,
        run=wait.run,
    )
