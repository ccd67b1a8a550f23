"""Handing over: a run that goes on as another one, with its input, its unread signals and what is left of its budget.

`Continue` ends a run as `Stop` does: nothing new starts, what runs has its grace. Then `run_continued` names the
successor, whose id derives from the run's, and a message asks for its start. The run stays live until the successor
exists: its `handover` is the trace from which a lost message is put back. It takes no signals meanwhile, so that what
the successor takes over stands still. A cancel that comes in between is passed on.

To whoever waits for the first run of such a chain, the chain is one run: its last one tells the end.
"""

from orchestrator.errors import Conflict
from orchestrator.kernel.commands import FinishHandover
from orchestrator.kernel.events import RunCancelled, RunContinued, RunFailed, RunSucceeded
from orchestrator.kernel.state import RunState
from orchestrator.kernel.status import RunStatus
from orchestrator.kernel.turn import Turn
from orchestrator.kernel.values import NULL, Handover, Predecessor, Signalled, Usage


def continue_run(turn: Turn, handover: Handover) -> None:
    """Nothing else is open: name the successor, and what it starts with."""
    state = turn.state
    since = state.active_since_us
    active_us = state.active_us + (max(0, turn.now_us - since) if since is not None else 0)
    turn.emit(
        RunContinued(
            run=handover.run,
            input=handover.input,
            latest=handover.latest,
            tasks=state.carried_tasks + state.counts.total,
            active_us=active_us,
            signals=len(state.signals),
        )
    )


def finish_handover(turn: Turn, command: FinishHandover) -> None:
    """The successor exists, or can't be. A repeat changes nothing."""
    state = turn.state
    handover = state.handover
    if handover is None or handover.run != command.run or not state.status.live:
        return
    assert state.ending is not None
    if state.ending.cause == "cancel":
        turn.emit(RunCancelled(reason=state.ending.reason))
    elif command.error is not None:
        turn.emit(RunFailed(error=command.error))
    else:
        turn.emit(RunSucceeded(output=NULL))


def predecessor_of(state: RunState) -> Predecessor:
    """What the successor of a run that hands over is told about it."""
    handover = state.handover
    assert handover is not None
    first = state.continues.first if state.continues is not None else state.run_id
    return Predecessor(
        run=state.run_id,
        first=first,
        tasks=handover.tasks,
        active_us=handover.active_us,
        usage=Usage(tokens=state.spent.tokens, cost_usd=state.spent.nano_usd / 1_000_000_000),
        limits=state.limits,
    )


def signals_handed_over(state: RunState) -> tuple[Signalled, ...]:
    """The signals that nobody took, under keys that a repeat of the start derives again."""
    return tuple(
        Signalled(name=signal.name, payload=signal.payload, key=f"{state.run_id}#{signal.seq}")
        for signal in state.signals
    )


def known_as(state: RunState) -> str:
    """The run that others know this one by: the first of its chain."""
    return state.continues.first if state.continues is not None else state.run_id


def refuse_if_handed_over(state: RunState, what: str) -> None:
    """Raises Conflict (`run_continued`) for what has to be said to the successor."""
    if state.handover is not None and state.status is not RunStatus.FAILED:
        raise Conflict(
            f"run {state.run_id} went on as run {state.handover.run} and {what}", reason="run_continued"
        )
