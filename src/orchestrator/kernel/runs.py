"""What the commands of a whole run do: start, pause, cancel, retry, signals, its end."""

from orchestrator.errors import Conflict, LimitExceeded
from orchestrator.kernel import budgets
from orchestrator.kernel.commands import (
    CancelRun,
    Deadline,
    DeliverSignal,
    FinishRun,
    PauseRun,
    RaiseBudget,
    ResumeRun,
    RetryRun,
    StartRun,
)
from orchestrator.kernel.compensation import refuse_if_compensating
from orchestrator.kernel.ending import begin_stopping, withdraw_all, withdraw_idle
from orchestrator.kernel.events import (
    CancelRequested,
    RunFailed,
    RunPaused,
    RunResumed,
    RunRetried,
    RunStarted,
    RunSucceeded,
    SignalReceived,
)
from orchestrator.kernel.flow import needs_output, schedule_start, settle
from orchestrator.kernel.handover import continue_run, refuse_if_handed_over
from orchestrator.kernel.items import resume_items
from orchestrator.kernel.joins import joins_that_lacked_arrivals
from orchestrator.kernel.state import RunState
from orchestrator.kernel.status import RunStatus
from orchestrator.kernel.tasks import doubt_what_was_stopped, take_signal, waiting_for_signal
from orchestrator.kernel.turn import SIGNALS_UNREAD_MAX, Turn
from orchestrator.kernel.values import NULL


def start_run(turn: Turn, command: StartRun) -> None:
    """The first group of a journal: the run exists, its first task is ready."""
    if turn.state.seq:
        raise Conflict(f"run {command.run_id} exists", reason="run_exists")
    turn.emit(
        RunStarted(
            run_id=command.run_id,
            workflow=command.workflow,
            version=command.version,
            namespace=command.namespace,
            input=command.input,
            labels=command.labels,
            variables=command.variables,
            parent=command.parent,
            depth=command.depth,
            priority=command.priority,
            request=command.request,
            continues=command.continues,
        )
    )
    for signal in command.signals:
        turn.emit(SignalReceived(name=signal.name, payload=signal.payload, key=signal.key))
    schedule_start(turn)
    settle(turn)


def deliver_signal(turn: Turn, command: DeliverSignal) -> None:
    """Keep the signal, or give it to the task that waits for it. A known key changes nothing."""
    state = turn.state
    if command.key in state.signal_keys:
        return
    refuse_if_handed_over(state, "takes no signals; send them there")
    _refuse_if_over(state, "takes no signals")
    waiting = waiting_for_signal(turn, command.name)
    if waiting is None and len(state.signals) >= SIGNALS_UNREAD_MAX:
        raise LimitExceeded("unread signals", value=len(state.signals) + 1, maximum=SIGNALS_UNREAD_MAX)
    turn.emit(
        SignalReceived(name=command.name, payload=command.payload, key=command.key, sender=command.sender)
    )
    if waiting is not None:
        task, step = waiting
        take_signal(turn, task, step, state.seq)


def pause_run(turn: Turn, command: PauseRun) -> None:
    """Start nothing new. A paused run stays paused."""
    state = turn.state
    _refuse_if_over(state, "can't be paused")
    if state.ending is not None:
        raise Conflict(f"run {state.run_id} is stopping and can't be paused", reason="stopping")
    if not state.paused:
        turn.emit(RunPaused(by=command.by, reason=command.reason))


def resume_run(turn: Turn, command: ResumeRun) -> None:
    """Take a pause back. A run that isn't paused goes on as it does."""
    _refuse_if_over(turn.state, "can't be resumed")
    if turn.state.paused:
        turn.emit(RunResumed(by=command.by, reason=command.reason))
    elif turn.state.spent_out:
        spent = ", ".join(f"`{budget}`" for budget in turn.state.spent_out)
        raise Conflict(
            f"run {turn.state.run_id} is paused because its budget of {spent} is spent; raise that",
            reason="budget_spent",
        )


def raise_budget(turn: Turn, command: RaiseBudget) -> None:
    """Give the run more; what a spent budget held back may start."""
    budgets.raise_budget(turn, command)
    resume_items(turn, list(turn.state.tasks))
    settle(turn)


def cancel_run(turn: Turn, command: CancelRun) -> None:
    """End the run. Asked for again it stays as it is; a run that is over otherwise can't be cancelled."""
    state = turn.state
    if state.status in (RunStatus.CANCELLED, RunStatus.CANCELLING):
        return
    if command.from_parent and turn.definition.on_parent_cancel == "abandon":
        return
    if not state.status.live:
        refuse_if_handed_over(state, "can't be cancelled; cancel that")
    _refuse_if_over(state, "can't be cancelled")
    until = turn.now_us + turn.cancel_grace_us
    turn.emit(CancelRequested(grace_until_us=until, by=command.by, reason=command.reason))
    withdraw_idle(turn)
    settle(turn)


def retry_run(turn: Turn, command: RetryRun) -> None:
    """Take up a failed run: the tasks that failed, those that the failure stopped, and what was on its way.

    An irreversible attempt that ran when the run was stopped isn't repeated: it is in doubt.
    """
    state = turn.state
    if state.status is not RunStatus.FAILED:
        raise Conflict(
            f"run {state.run_id} is {state.status.value}; only a failed run can be retried",
            reason="run_not_failed",
        )
    refuse_if_compensating(state, "can't be retried")
    returned = joins_that_lacked_arrivals(turn)
    reopened = [path for path in state.set_aside if path not in returned]
    turn.emit(RunRetried(reopened=reopened, returned=returned, by=command.by, reason=command.reason))
    if state.handover is not None:
        continue_run(turn, state.handover)
        return
    for path in reopened:
        doubt_what_was_stopped(turn, path)
    resume_items(turn, reopened)
    settle(turn)


def finish_run(turn: Turn, command: FinishRun) -> None:
    """The run's output is known, or why it can't be."""
    if not needs_output(turn):
        raise Conflict(f"run {turn.state.run_id} doesn't ask for its output", reason="not_finishing")
    if command.error is not None:
        if turn.state.undo:
            begin_stopping(turn, "failure", error=command.error)
            settle(turn)
        else:
            turn.emit(RunFailed(error=command.error))
    else:
        turn.emit(RunSucceeded(output=command.output or NULL))


def deadline(turn: Turn, command: Deadline) -> None:
    """A timer of the run. One that comes early or too late changes nothing."""
    state = turn.state
    if not state.status.live:
        return
    if command.timer == "grace":
        if state.compensation is None and state.ending and turn.now_us >= state.ending.grace_until_us:
            withdraw_all(turn)
            settle(turn)
    elif state.ending is None:
        spent = active_us(state, turn.now_us)
        limit = budgets.duration_limit_us(state, turn.definition)
        if spent >= limit:
            budgets.exceed(turn, "duration", limit=limit, value=spent)
            settle(turn)


def active_us(state: RunState, now_us: int) -> int:
    """How long the run was active: neither waiting nor paused nor over."""
    since = state.active_since_us
    return state.active_us + (max(0, now_us - since) if since is not None else 0)


def _refuse_if_over(state: RunState, what: str) -> None:
    if not state.status.live:
        raise Conflict(f"run {state.run_id} is {state.status.value} and {what}", reason="run_over")
