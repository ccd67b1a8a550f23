"""`handle(state, command, now)`: the one door to the kernel's rules."""

from collections.abc import Callable
from typing import Any

from orchestrator.errors import Conflict
from orchestrator.kernel import budgets, doubts, erasing, forking, handover, items, runs, tasks
from orchestrator.kernel import commands as c
from orchestrator.kernel.compensation import at_the_last_page
from orchestrator.kernel.ending import withdraw_all
from orchestrator.kernel.events import Event
from orchestrator.kernel.flow import journal_is_full, settle, stop_for_full_journal
from orchestrator.kernel.flow import needs_output as _needs_output
from orchestrator.kernel.state import RunState
from orchestrator.kernel.turn import CANCEL_GRACE_US, Turn
from orchestrator.model.definition import Definition


def handle(
    state: RunState,
    command: c.Command,
    *,
    now_us: int,
    definition: Definition,
    cancel_grace_us: int = CANCEL_GRACE_US,
) -> list[Event]:
    """Decide what the command means for the run, and advance `state` by the events that it gives back.

    Deterministic: the same state, command, time and definition give the same events. No events: nothing had to
    happen (a repeat). After a refusal the state is as it was.

    Raises:
        Conflict: the state doesn't allow the command; `reason` says which of its rules.
        LimitExceeded: a limit of the run is reached.
        InternalError: a rule is broken; the state must be thrown away.
    """
    if state.erased is not None:
        erasing.refuse_if_erased(state, command)
    if state.imported is not None and not isinstance(command, c.ForkRun | c.EraseRun):
        raise Conflict(
            f"run {state.run_id} was read from a file and stays as it is; fork it to go on from any of its events",
            reason="run_imported",
        )
    turn = Turn(state, definition, now_us, cancel_grace_us=cancel_grace_us)
    _RULES[type(command)](turn, command)
    if journal_is_full(state) and state.ending is None and state.tasks and state.status.live:
        stop_for_full_journal(turn)
        settle(turn)
    elif state.compensation is not None and state.tasks and at_the_last_page(state):
        withdraw_all(turn)
        settle(turn)
    return turn.events


def needs_output(state: RunState, definition: Definition) -> bool:
    """Whether the run is over but for the value of its output: answer with `FinishRun`, in the same commit."""
    return _needs_output(Turn(state, definition, 0))


_RULES: dict[type[c.Command], Callable[[Turn, Any], None]] = {
    c.StartRun: runs.start_run,
    c.ForkRun: forking.fork_run,
    c.StartItems: items.start_items,
    c.CompleteTask: tasks.complete_task,
    c.FailTask: tasks.fail_task,
    c.SkipTask: tasks.skip_task,
    c.StartTask: tasks.start_task,
    c.StartStep: tasks.start_step,
    c.RecordStep: tasks.record_step,
    c.ReserveBudget: budgets.reserve,
    c.SettleBudget: budgets.settle_step,
    c.SuspendTask: tasks.suspend_task,
    c.FireTimer: tasks.fire_timer,
    c.AbandonTask: tasks.abandon_task,
    c.DoubtTask: tasks.doubt_task,
    c.NoteLate: doubts.note_late,
    c.ResolveTask: tasks.resolve_task,
    c.DeliverSignal: runs.deliver_signal,
    c.FinishChild: tasks.finish_child,
    c.PauseRun: runs.pause_run,
    c.ResumeRun: runs.resume_run,
    c.RaiseBudget: runs.raise_budget,
    c.CancelRun: runs.cancel_run,
    c.RetryRun: runs.retry_run,
    c.FinishRun: runs.finish_run,
    c.EraseRun: erasing.erase_run,
    c.FinishHandover: handover.finish_handover,
    c.Deadline: runs.deadline,
}
