"""What the commands of one task do: its result, its failure and retry, its steps, its waits, its doubt."""

import msgspec

from orchestrator.errors import Conflict
from orchestrator.kernel import budgets
from orchestrator.kernel.commands import (
    AbandonTask,
    CompleteTask,
    DoubtTask,
    FailTask,
    FinishChild,
    FireTimer,
    RecordStep,
    ResolveTask,
    SkipTask,
    StartStep,
    StartTask,
    SuspendTask,
)
from orchestrator.kernel.compensation import is_stopped
from orchestrator.kernel.ending import begin_stopping, fail_for_good, withdraw
from orchestrator.kernel.events import (
    StepRecorded,
    StepStarted,
    TaskCompleted,
    TaskFailed,
    TaskInDoubt,
    TaskResolved,
    TaskResumed,
    TaskSkipped,
    TaskStarted,
    TaskSuspended,
    VariablesSet,
)
from orchestrator.kernel.flow import settle
from orchestrator.kernel.items import after_item, fail_item, no_way_on
from orchestrator.kernel.joins import withdraw_cancelled
from orchestrator.kernel.plans import lay_plan
from orchestrator.kernel.routes import arrivals_without_decision, follow
from orchestrator.kernel.state import TaskState, is_larger_than
from orchestrator.kernel.status import TaskStatus
from orchestrator.kernel.turn import DEFERRALS_MAX, Turn
from orchestrator.kernel.values import NO_TIMING, NULL, ErrorInfo, Payload, Timing, Wait
from orchestrator.model.declarations import ASK
from orchestrator.model.definition import RetryPolicy

PASSED_ON_MAX = 10_000
"""A skipped join passes on the map of all that came to it: a row of skipped diamonds doubles it each time."""

RESOLUTIONS = ("done", "retry", "skip", "fail")

BY_POLICY = "on_doubt"
"""Who resolved a doubt, where the node's own policy did."""

TIMED_OUT = "signal_timeout"
"""Error type of a signal that did not come in time."""


def complete_task(turn: Turn, command: CompleteTask) -> None:
    """The attempt gave a result: record the decision, the variables, the completion, and go on."""
    task = _ready_task(turn, command.path)
    node = turn.node(task.node)
    budgets.count(turn, task, command.timing, command.route)
    if command.stop is not None:
        _complete_and_stop(turn, command, task)
        return
    if command.handover is not None:
        _record_completion(turn, command, task, [])
        begin_stopping(turn, "continue", handover=command.handover)
        settle(turn)
        return
    if command.plan is not None:
        refused = lay_plan(turn, command, task, command.plan)
        if refused is not None:
            _refuse(turn, task, refused, command, "with a plan that can't be laid")
        settle(turn)
        return
    followed = follow(node, task, command.route) if task.item is None else no_way_on(task, command.route)
    if isinstance(followed, ErrorInfo):
        _refuse(turn, task, followed, command, "with a route that it may not take")
        settle(turn)
        return
    decision, arrivals = followed
    if decision is not None:
        turn.emit(decision)
    _record_completion(turn, command, task, arrivals)
    if task.item is not None:
        after_item(turn, task, enough=command.enough)
    settle(turn)


def _refuse(turn: Turn, task: TaskState, refused: ErrorInfo, command: CompleteTask, how: str) -> None:
    """The attempt ended in a way that isn't allowed: it failed, unless it has touched the world."""
    if task.touched:
        _doubt(turn, task, f"the attempt ended {how}: {refused.message}", late=command.output)
    else:
        _fail(turn, task, refused, timing=command.timing)


def _record_completion(turn: Turn, command: CompleteTask, task: TaskState, arrivals: list[str]) -> None:
    node = turn.node(task.node)
    if node.cancels:
        withdraw_cancelled(turn, task)
    if command.variables:
        turn.emit(VariablesSet(path=task.path, node=task.node, values=command.variables))
    turn.emit(
        TaskCompleted(
            path=task.path,
            node=task.node,
            attempt=task.attempt,
            output=command.output,
            arrivals=arrivals,
            timing=command.timing,
            compensate=node.compensate,
            cached=command.cached,
            cache_key=command.cache_key,
        )
    )


def _complete_and_stop(turn: Turn, command: CompleteTask, task: TaskState) -> None:
    stop = command.stop
    assert stop is not None
    if stop.succeed:
        _record_completion(turn, command, task, [])
        begin_stopping(turn, "stop", output=command.output)
    else:
        # Failed, not completed: a retry of the run comes back to it, and can't pass it as if all were well.
        message = stop.message or f"`{task.node}` stopped the run"
        error = ErrorInfo(type="stopped", message=message, retryable=False, path=task.path, node=task.node)
        turn.emit(
            TaskFailed(
                path=task.path, node=task.node, attempt=task.attempt, error=error, timing=command.timing
            )
        )
        begin_stopping(turn, "stop", error=error)
    settle(turn)


def skip_task(turn: Turn, command: SkipTask) -> None:
    """The node's `when` was false: output null, what led here is passed on."""
    task = _ready_task(turn, command.path)
    if is_larger_than(task.previous, PASSED_ON_MAX):
        message = (
            f"what led to `{task.node}` stands for more than {PASSED_ON_MAX:,} outputs and can't be passed on"
        )
        error = ErrorInfo(
            type="limit_exceeded", message=message, retryable=False, path=task.path, node=task.node
        )
        _fail(turn, task, error)
    else:
        arrivals = arrivals_without_decision(turn.node(task.node)) if task.item is None else []
        turn.emit(TaskSkipped(path=task.path, node=task.node, arrivals=arrivals, reason=command.reason))
        if task.item is not None:
            after_item(turn, task)
    settle(turn)


# --- failure ------------------------------------------------------------------------------------------------------


def fail_task(turn: Turn, command: FailTask) -> None:
    """The attempt failed: try again, hand over to `on_error`, be in doubt, or fail the run."""
    task = _ready_task(turn, command.path)
    budgets.count(turn, task, command.timing)
    later = command.later_us is not None
    if task.touched and not later:
        _doubt(turn, task, f"the attempt failed after it began: {command.error.message}")
        settle(turn)
        return
    policy = turn.node(task.node).retry
    if is_stopped(turn.state, task):
        _fail(turn, task, command.error, timing=command.timing)
    elif later and task.deferrals < DEFERRALS_MAX:
        delay = command.later_us if command.later_us is not None else policy.initial_us
        _try_again(turn, task, command, delay, deferred=True)
    elif not later and task.tries + 1 < policy.max_attempts and may_retry(policy, command.error):
        _try_again(turn, task, command, retry_delay_us(policy, task.tries + 1, command.draw), deferred=False)
    else:
        _fail(turn, task, command.error, timing=command.timing)
    settle(turn)


def _try_again(turn: Turn, task: TaskState, command: FailTask, delay_us: int, *, deferred: bool) -> None:
    turn.emit(
        TaskFailed(
            path=task.path,
            node=task.node,
            attempt=task.attempt,
            error=command.error,
            retry_us=turn.now_us + delay_us,
            deferred=deferred,
            timing=command.timing,
        )
    )


def may_retry(policy: RetryPolicy, error: ErrorInfo) -> bool:
    """Whether the policy lets an error of this type be tried again."""
    if not error.retryable or error.type in policy.never_on:
        return False
    return not policy.retry_on or error.type in policy.retry_on


def retry_delay_us(policy: RetryPolicy, failures: int, draw: float) -> int:
    """Exponential, capped, spread by the jitter: `draw` of 0.5 is the middle."""
    exponent = min(failures - 1, 64)
    delay = min(policy.initial_us * policy.multiplier**exponent, policy.max_interval_us)
    return max(0, round(delay * (1 + policy.jitter * (2 * draw - 1))))


def _fail(turn: Turn, task: TaskState, error: ErrorInfo, *, timing: Timing = NO_TIMING) -> None:
    """For good: an item by the rules of its `for_each`, any other task by its own."""
    if task.item is not None:
        fail_item(turn, task, error, timing=timing)
    else:
        fail_for_good(turn, task, error, timing=timing)


# --- steps --------------------------------------------------------------------------------------------------------


def start_task(turn: Turn, command: StartTask) -> None:
    """An irreversible attempt begins."""
    task = _ready_task(turn, command.path)
    _refuse_if_stopping(turn, task)
    if task.started:
        raise Conflict(f"attempt {task.attempt} of `{task.path}` has begun before", reason="already_started")
    turn.emit(TaskStarted(path=task.path, node=task.node, attempt=task.attempt, worker=command.worker))


def start_step(turn: Turn, command: StartStep) -> None:
    """An irreversible step begins."""
    task = _ready_task(turn, command.path)
    _refuse_if_stopping(turn, task)
    if command.step in task.steps or command.step in task.open_steps:
        raise Conflict(f"step `{command.step}` of `{task.path}` has begun before", reason="already_started")
    turn.emit(
        StepStarted(
            path=task.path,
            node=task.node,
            step=command.step,
            name=command.name,
            args_sha256=command.args_sha256,
        )
    )


def record_step(turn: Turn, command: RecordStep) -> None:
    """A step's answer. A step that has one keeps it."""
    task = _ready_task(turn, command.path)
    if command.step in task.steps:
        raise Conflict(f"step `{command.step}` of `{task.path}` has its answer", reason="step_recorded")
    turn.emit(
        StepRecorded(
            path=task.path,
            node=task.node,
            step=command.step,
            name=command.name,
            args_sha256=command.args_sha256,
            effect=command.effect,
            result=command.result,
            error=command.error,
            started_at=command.started_at,
        )
    )
    budgets.settle(turn, task, command.step, command.usage)


# --- waiting ------------------------------------------------------------------------------------------------------


def suspend_task(turn: Turn, command: SuspendTask) -> None:
    """The task waits. A wait that it had before keeps its time; a signal that is there already is taken at once.

    What it waits for may have ended since its attempt began (a child did): then it is ready again at once.
    A child that was started is waited for until it ends, asked for again or not: it tells of its end only once.
    """
    task = _ready_task(turn, command.path)
    if not command.waits:
        raise Conflict(f"task `{task.path}` would wait for nothing", reason="no_waits")
    for wait in command.waits:
        _check_wait(task, wait)
    if is_stopped(turn.state, task):
        withdraw(turn, task)
        settle(turn)
        return
    ready = any(wait.step in task.steps for wait in command.waits)
    waits = [
        task.waits.get(wait.step) or _begun(wait, turn.state.seq)
        for wait in command.waits
        if wait.step not in task.steps
    ]
    asked = {wait.step for wait in waits}
    waits += [wait for wait in task.waits.values() if wait.kind == "child" and wait.step not in asked]
    children = [w.run for w in waits if w.kind == "child" and w.run is not None and w.step not in task.waits]
    turn.emit(
        TaskSuspended(
            path=task.path, node=task.node, attempt=task.attempt, waits=waits, children=children, ready=ready
        )
    )
    for wait in waits:
        if wait.kind == "signal":
            known = (
                s
                for s in turn.state.signals
                if s.name == wait.name and (not wait.fresh or s.seq > wait.after)
            )
            signal = next(known, None)
            if signal is not None:
                take_signal(turn, task, wait.step, signal.seq)


def _begun(wait: Wait, seq: int) -> Wait:
    return msgspec.structs.replace(wait, after=seq) if wait.fresh else wait


def _check_wait(task: TaskState, wait: Wait) -> None:
    """Every wait must have something that ends it, or the task would wait for ever."""
    ends = {"timer": wait.due_us, "signal": wait.name, "child": wait.run}
    if ends.get(wait.kind) is None:
        raise Conflict(f"`{wait.step}` of `{task.path}` waits for nothing that could come", reason="no_waker")


def take_signal(turn: Turn, task: TaskState, step: str, seq: int) -> None:
    signal = next(s for s in turn.state.signals if s.seq == seq)
    turn.emit(
        TaskResumed(path=task.path, node=task.node, step=step, by="signal", signal=seq, result=signal.payload)
    )


def waiting_for_signal(turn: Turn, name: str) -> tuple[TaskState, str] | None:
    """The oldest task that waits for a signal of this name, and the step that waits."""
    for task in turn.state.tasks.values():
        if task.status is TaskStatus.WAITING and not is_stopped(turn.state, task):
            for wait in task.waits.values():
                if wait.kind == "signal" and wait.name == name:
                    return task, wait.step
    return None


def fire_timer(turn: Turn, command: FireTimer) -> None:
    """End every wait of the task whose time has come. None: the timer was early, it must be set again."""
    task = turn.open_task(command.path)
    if task.status is not TaskStatus.WAITING:
        raise Conflict(f"task `{task.path}` doesn't wait", reason="task_not_waiting")
    for wait in list(task.waits.values()):
        if wait.due_us is None or wait.due_us > turn.now_us:
            continue
        if wait.kind == "timer":
            turn.emit(TaskResumed(path=task.path, node=task.node, step=wait.step, by="timer", result=NULL))
        else:
            message = f"signal `{wait.name}` did not come in time"
            error = ErrorInfo(type=TIMED_OUT, message=message, path=task.path, node=task.node)
            turn.emit(TaskResumed(path=task.path, node=task.node, step=wait.step, by="timeout", error=error))


def finish_child(turn: Turn, command: FinishChild) -> None:
    """A child run has ended. A repeat, or one for a task that no longer waits for it, changes nothing.

    The message comes only once: where another wait has woken the task meanwhile, the answer is recorded as its step's,
    and the lease of the attempt that runs now stays as it is.
    """
    task = turn.state.tasks.get(command.path)
    wait = task.waits.get(command.step) if task is not None else None
    if task is None or wait is None or wait.run != command.run:
        return
    if task.status is not TaskStatus.WAITING:
        turn.emit(
            StepRecorded(
                path=task.path,
                node=task.node,
                step=command.step,
                name=wait.workflow or wait.kind,
                result=command.output,
                error=command.error,
            )
        )
        return
    turn.emit(
        TaskResumed(
            path=task.path,
            node=task.node,
            step=command.step,
            by="child",
            result=command.output,
            error=command.error,
        )
    )


# --- doubt --------------------------------------------------------------------------------------------------------


def abandon_task(turn: Turn, command: AbandonTask) -> None:
    """The run is stopping, and the task's worker has let go of it."""
    task = turn.open_task(command.path)
    if not is_stopped(turn.state, task):
        raise Conflict(f"nothing stops `{task.path}` of run {turn.state.run_id}", reason="not_stopping")
    withdraw(turn, task, began=command.began)
    settle(turn)


def doubt_task(turn: Turn, command: DoubtTask) -> None:
    """An irreversible attempt began, and nobody can say how it ended."""
    task = _ready_task(turn, command.path)
    if not task.touched:
        raise Conflict(f"no irreversible part of `{task.path}` has begun", reason="not_started")
    _doubt(turn, task, command.reason)
    settle(turn)


def _doubt(turn: Turn, task: TaskState, reason: str, *, late: Payload | None = None) -> None:
    if is_stopped(turn.state, task):
        withdraw(turn, task)
        return
    step = task.open_step.step if task.open_step is not None else None
    turn.emit(
        TaskInDoubt(
            path=task.path,
            node=task.node,
            attempt=task.attempt,
            reason=reason,
            step=step,
            late=late if late is not None else task.late_result,
        )
    )
    _resolve_by_policy(turn, task)


def _resolve_by_policy(turn: Turn, task: TaskState) -> None:
    """What the node's `on_doubt` says; nothing where that is to ask, or where it was tried as often as it may be."""
    node = turn.node(task.node)
    if node.on_doubt == "retry":
        if task.tries + 1 < node.retry.max_attempts:
            retry_us = turn.now_us + retry_delay_us(node.retry, task.tries + 1, 0.5)
            _resolve(turn, task, ResolveTask(path=task.path, action="retry", by=BY_POLICY), retry_us=retry_us)
    elif node.on_doubt != ASK:
        message = f"{task.doubt} (`on_doubt` of `{task.node}` is `{node.on_doubt}`)"
        command = ResolveTask(path=task.path, action=node.on_doubt, message=message, by=BY_POLICY)
        _resolve(turn, task, command)


def doubt_what_was_stopped(turn: Turn, path: str) -> None:
    """A retry comes back to a task whose irreversible part was running when the run was stopped."""
    task = turn.state.tasks.get(path)  # gone, if the doubt about another has ended the run or its `for_each`
    if task is not None and task.touched:
        _doubt(turn, task, "the run was stopped while the attempt ran, its outcome is unknown")


def resolve_task(turn: Turn, command: ResolveTask) -> None:
    """A person decides. Of a step in doubt, `done` gives the step's result and the task runs on."""
    task = turn.open_task(command.path)
    if task.status is not TaskStatus.IN_DOUBT:
        raise Conflict(f"task `{task.path}` is not in doubt", reason="task_not_in_doubt")
    if command.action not in RESOLUTIONS:
        raise Conflict(
            f"`{command.action}` resolves no doubt; use one of {', '.join(RESOLUTIONS)}",
            reason="unknown_resolution",
        )
    _resolve(turn, task, command)
    settle(turn)


def _resolve(turn: Turn, task: TaskState, command: ResolveTask, *, retry_us: int | None = None) -> None:
    node, open_step = turn.node(task.node), task.open_step
    followed = None
    if command.action == "done" and open_step is None:
        followed = follow(node, task, None) if task.item is None else no_way_on(task, None)
        if isinstance(followed, ErrorInfo):
            raise Conflict(f"{followed.message}; resolve with retry, skip or fail", reason="route_needed")
    turn.emit(
        TaskResolved(
            path=task.path,
            node=task.node,
            action=command.action,
            by=command.by,
            message=command.message,
            retry_us=retry_us,
        )
    )
    output = command.output if command.output is not None else NULL
    if command.action == "done" and open_step is not None:
        turn.emit(
            StepRecorded(
                path=task.path,
                node=task.node,
                step=open_step.step,
                name=open_step.name,
                effect="irreversible",
                result=output,
            )
        )
    elif command.action == "done" and followed is not None:
        withdraw_cancelled(turn, task)
        turn.emit(
            TaskCompleted(
                path=task.path,
                node=task.node,
                attempt=task.attempt,
                output=output,
                arrivals=followed[1],
                compensate=node.compensate,
            )
        )
    elif command.action == "skip":
        arrivals = arrivals_without_decision(node) if task.item is None else []
        reason = command.message or "skipped by a person"
        turn.emit(TaskSkipped(path=task.path, node=task.node, arrivals=arrivals, reason=reason))
    elif command.action == "fail":
        message = command.message or "a person said that it failed"
        error = ErrorInfo(
            type="in_doubt",
            message=message,
            retryable=False,
            path=task.path,
            node=task.node,
            attempt=task.attempt,
        )
        _fail(turn, task, error)
    if task.item is not None and task.path not in turn.state.tasks:
        after_item(turn, task)


# --- common -------------------------------------------------------------------------------------------------------


def _ready_task(turn: Turn, path: str) -> TaskState:
    task = turn.open_task(path)
    if task.status is not TaskStatus.READY:
        raise Conflict(f"task `{path}` is {task.status.value}", reason="task_not_ready")
    return task


def _refuse_if_stopping(turn: Turn, task: TaskState) -> None:
    if is_stopped(turn.state, task):
        raise Conflict(f"run {turn.state.run_id} is stopping", reason="stopping")
