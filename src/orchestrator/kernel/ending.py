"""How a run is brought to an end before its time: a failure, a cancel, a Stop node.

Nothing new starts. What surely isn't running (it waits, it is in doubt, its next try lies ahead) is withdrawn at once.
What may be running is told by its worker, and has until the grace is over to report: a result is taken, an
`AbandonTask` ends it. Then whatever is left is withdrawn, and its late result will be fenced off. What the run did is
taken back after that (`compensation`), and then it is over.
"""

from orchestrator.kernel.blocks import open_in, owner_of
from orchestrator.kernel.compensation import after_failure, after_withdrawal, is_stopped
from orchestrator.kernel.events import RunStopping, TaskCancelled, TaskFailed
from orchestrator.kernel.state import TaskState
from orchestrator.kernel.status import TaskStatus
from orchestrator.kernel.turn import Turn
from orchestrator.kernel.values import NO_TIMING, ErrorInfo, Handover, Payload, Timing
from orchestrator.model.declarations import ANY
from orchestrator.model.grafts import SEPARATOR


def begin_stopping(
    turn: Turn,
    cause: str,
    *,
    error: ErrorInfo | None = None,
    output: Payload | None = None,
    handover: Handover | None = None,
) -> None:
    """The run will end as failed, or as a node (Stop, Continue) says. One that stops already keeps its first reason."""
    if turn.state.ending is not None:
        return
    until = turn.now_us + turn.cancel_grace_us
    turn.emit(RunStopping(cause=cause, grace_until_us=until, error=error, output=output, handover=handover))
    withdraw_idle(turn)


def fail_for_good(turn: Turn, task: TaskState, error: ErrorInfo, *, timing: Timing = NO_TIMING) -> None:
    """No more tries: `on_error` takes over, or the run stops, now or (`finish_branches`) when its branches are done."""
    node = turn.node(task.node)
    handlers = node.on_error
    handler = handlers.get(error.type, handlers.get(ANY))
    turn.emit(
        TaskFailed(
            path=task.path,
            node=task.node,
            attempt=task.attempt,
            error=error,
            arrivals=[handler] if handler is not None else [],
            timing=timing,
            compensate=after_failure(node, error) if node.for_each is None else None,
        )
    )
    if handler is not None:
        return
    planner = _planner_that_handles(turn, task, error)
    if planner is not None:
        withdraw_block(turn, planner, reason=f"`{task.path}` failed")
        fail_for_good(turn, planner, of_block(error, task))
    elif not turn.definition.finish_branches:
        begin_stopping(turn, "failure", error=error)


def _planner_that_handles(turn: Turn, task: TaskState, error: ErrorInfo) -> TaskState | None:
    """The nearest task around a failed one that laid its plan and whose `on_error` takes the error."""
    state = turn.state
    owner = owner_of(state, task.node) if state.ending is None and task.compensates is None else None
    while owner is not None:
        handlers = turn.node(owner.node).on_error
        if error.type in handlers or ANY in handlers:
            return owner
        owner = owner_of(state, owner.node)
    return None


def of_block(error: ErrorInfo, task: TaskState) -> ErrorInfo:
    """The error of a task in a plan as that of the task that laid it: of the same type, so that `on_error` knows it."""
    return ErrorInfo(
        type=error.type,
        message=f"`{task.path}` of its plan failed: {error.message}",
        retryable=error.retryable,
        path=error.path or task.path,
        node=error.node or task.node,
        attempt=error.attempt,
        details=error.details,
    )


def withdraw_idle(turn: Turn) -> None:
    """Withdraw every task that surely isn't running. One that laid a plan goes after all that is open in that."""
    state = turn.state
    planners: list[TaskState] = []
    for task in list(state.tasks.values()):
        if not is_stopped(state, task):
            continue
        if task.block is not None and not task.block.done:
            planners.append(task)
        elif task.status is not TaskStatus.READY or task.not_before_us > turn.now_us:
            withdraw(turn, task)
    for task in sorted(planners, key=lambda one: one.path.count(SEPARATOR), reverse=True):
        if task.block is not None and not task.block.open:
            withdraw(turn, task)


def withdraw_all(turn: Turn) -> None:
    """The grace is over. Of a plan the inner tasks go first: its node ends after all that it laid."""
    for task in sorted(turn.state.tasks.values(), key=lambda one: one.path.count(SEPARATOR), reverse=True):
        withdraw(turn, task)


STOPPING = "the run is stopping"


def withdraw(
    turn: Turn, task: TaskState, *, reason: str = STOPPING, final: bool = False, began: bool = True
) -> None:
    """Cancel one task: because its run is stopping, or (`final`) for good, while the run goes on.

    `began`: its worker may have run it. With a task that laid a plan goes what is open in that.
    """
    if final:
        withdraw_block(turn, task, reason=reason)
    children = [w.run for w in task.waits.values() if w.kind == "child" and w.run is not None]
    turn.emit(
        TaskCancelled(
            path=task.path,
            node=task.node,
            reason=reason,
            final=final,
            unknown=task.touched,
            children=children,
            compensate=after_withdrawal(turn.node(task.node), task, began=began),
        )
    )


def withdraw_block(turn: Turn, task: TaskState, *, reason: str) -> None:
    """Withdraw for good what is open in the plan that the task laid, if it laid one; the inner ones first."""
    if task.block is None:
        return
    inner = sorted(open_in(turn.state, task.path), key=lambda one: one.path.count(SEPARATOR), reverse=True)
    for one in inner:
        withdraw(turn, one, reason=reason, final=True)
