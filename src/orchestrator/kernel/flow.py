"""How a run flows: arrivals become tasks, joins wait for everything that can still come, and the run ends.

The rules of DESIGN section 3. `settle` is called at the end of every turn that may have changed what is live.
"""

from collections.abc import Sequence

from orchestrator.errors import InternalError
from orchestrator.kernel.budgets import exceed, limit_of
from orchestrator.kernel.compensation import EVENTS_EACH, compensate_next
from orchestrator.kernel.ending import begin_stopping, fail_for_good
from orchestrator.kernel.events import RunCancelled, RunFailed, RunSucceeded, TaskScheduled
from orchestrator.kernel.handover import continue_run
from orchestrator.kernel.joins import (
    NO_REST,
    Rest,
    Verdict,
    drop_rest,
    hold_back,
    late_of,
    next_join,
    oldest_of_each,
    rest_of_round,
    swallow_late,
    unsatisfied,
)
from orchestrator.kernel.plans import end_blocks
from orchestrator.kernel.reading import path_of, reads_of
from orchestrator.kernel.state import Arrival, RunState, TaskState
from orchestrator.kernel.status import TaskStatus
from orchestrator.kernel.turn import JOURNAL_EVENTS_MAX, JOURNAL_EVENTS_RESERVED, Turn
from orchestrator.kernel.values import NO_ORIGIN, NULL, ErrorInfo, Origin
from orchestrator.model.definition import NodeDefinition
from orchestrator.model.joins import JoinKind


def settle(turn: Turn) -> None:
    """Schedule all that can start now, then end the run if nothing is left."""
    state = turn.state
    _schedule_all(turn)
    while state.plans and end_blocks(turn):
        _schedule_all(turn)
    if state.tasks or not state.status.live or state.handover is not None:
        return
    if state.arrivals and state.spent_out:
        return
    if state.ending is None and state.set_aside:
        _end_as_failed(turn)
    if state.ending is not None:
        if not compensate_next(turn):
            _end_as_decided(turn)
    elif not state.arrivals:
        _end_by_itself(turn)
    else:
        waiting = ", ".join(f"`{node}`" for node in state.arrivals)
        raise InternalError(f"nothing is live in run {state.run_id}, but {waiting} did not run")


def _schedule_all(turn: Turn) -> None:
    """Schedule all that the arrivals allow."""
    state = turn.state
    while state.arrivals and _may_schedule(state):
        if not (swallow_late(turn) or _schedule_arrivals(turn) or _settle_a_join(turn)):
            break


def _may_schedule(state: RunState) -> bool:
    return state.ending is None and "tasks" not in state.spent_out


def schedule_start(turn: Turn) -> None:
    """The first task of a run."""
    _schedule(turn, turn.node(turn.definition.start_at), ())


def _schedule_arrivals(turn: Turn) -> bool:
    """A node that is no join runs on each arrival."""
    state, scheduled = turn.state, False
    for node_id in list(state.arrivals):
        node = turn.node(node_id)
        if node.is_join:
            continue
        while _may_schedule(state) and (waiting := state.arrivals.get(node_id)):
            _schedule(turn, node, waiting[:1])
            scheduled = True
    return scheduled


def _settle_a_join(turn: Turn) -> bool:
    """Run (or fail, or hold back) the next join. One at a time: once it is live, it may hold others back."""
    due = next_join(turn)
    if due is None:
        return False
    node = turn.node(due.node)
    match due.verdict:
        case Verdict.HOLD:
            hold_back(turn, node.id)
        case Verdict.FAIL:
            task = _schedule(turn, node, turn.state.arrivals[node.id])
            if task is not None:
                fail_for_good(turn, task, unsatisfied(turn, node.id, task))
        case Verdict.RUN if node.join.kind is JoinKind.COUNT:
            rest = rest_of_round(turn, node.id)
            if _schedule(turn, node, turn.state.arrivals[node.id][: node.join.wants], rest) is not None:
                drop_rest(turn, node.id, rest)
        case Verdict.RUN if node.join.kind is JoinKind.ONE_OF_EACH:
            waiting = turn.state.arrivals[node.id]
            places = oldest_of_each(waiting)
            _schedule(turn, node, [waiting[place] for place in places], places=places)
        case Verdict.RUN:
            _schedule(turn, node, turn.state.arrivals[node.id])
    return True


def _by_source(arrivals: Sequence[Arrival]) -> dict[str, list[Origin]]:
    sources: dict[str, list[Origin]] = {}
    for arrival in arrivals:
        sources.setdefault(arrival.source, []).append(arrival.origin)
    return sources


def _schedule(
    turn: Turn,
    node: NodeDefinition,
    arrivals: Sequence[Arrival],
    rest: Rest = NO_REST,
    *,
    places: Sequence[int] = (),
) -> TaskState | None:
    """One task for the node, which takes these arrivals: the first ones, or those at `places`.

    `rest` is what is late for it from now on. None if a limit of the run is reached: then the run begins to stop.
    """
    state = turn.state
    if not has_room(turn):
        return None
    visit = state.visits.get(node.id, 0) + 1
    path = path_of(node.id, visit)
    if node.is_join and arrivals:
        origin = Origin(sources=_by_source(arrivals))
    else:
        origin = arrivals[0].origin if arrivals else NO_ORIGIN
    turn.emit(
        TaskScheduled(
            path=path,
            node=node.id,
            visit=visit,
            previous=origin,
            reads=reads_of(state, node),
            join=node.is_join and bool(arrivals),
            takes=len(arrivals) if node.join.kind is JoinKind.COUNT else 0,
            late=late_of(turn.definition.graph, node.id, arrivals),
            outran=rest.tasks,
            outran_at=rest.joins,
            taken=list(places),
        )
    )
    return state.tasks[path]


def has_room(turn: Turn) -> bool:
    """Whether the run may have another task; if a limit of it is reached, it begins to stop, or pauses."""
    state = turn.state
    spent = state.carried_tasks + state.counts.total
    limit = limit_of(state, turn.definition, "tasks")
    if limit is not None and spent >= limit:
        exceed(turn, "tasks", limit=limit, value=spent + 1)
        return False
    if journal_is_full(state):
        stop_for_full_journal(turn)
        return False
    return True


def journal_is_full(state: RunState) -> bool:
    """Whether what is left of the journal is kept for ending the run, and for taking back what it did."""
    return state.seq >= JOURNAL_EVENTS_MAX - JOURNAL_EVENTS_RESERVED - EVENTS_EACH * len(state.undo)


def stop_for_full_journal(turn: Turn) -> None:
    """Stop the run as failed while its journal has room to say so."""
    message = f"the journal has {turn.state.seq:,} of at most {JOURNAL_EVENTS_MAX:,} events"
    begin_stopping(turn, "failure", error=ErrorInfo(type="journal_full", message=message, retryable=False))


# --- the end ------------------------------------------------------------------------------------------------------


def _end_as_failed(turn: Turn) -> None:
    """All branches are done that could go on: what failed on the way, the first of it, is why the run fails."""
    state = turn.state
    waiting = [node for node in state.arrivals if node not in state.held_back]
    if waiting:
        raise InternalError(f"nothing is live in run {state.run_id}, but {', '.join(waiting)} did not run")
    failed = next(task for task in state.set_aside.values() if task.status is TaskStatus.FAILED)
    begin_stopping(turn, "failure", error=failed.error)


def needs_output(turn: Turn) -> bool:
    """Whether the run is over but for its output, whose value must come in with `FinishRun`."""
    state = turn.state
    idle = (
        not state.tasks
        and not state.arrivals
        and not state.set_aside
        and state.ending is None
        and state.status.live
        and state.seq > 0
    )
    return idle and (turn.definition.output is not None or len(state.sinks) != 1)


def _end_by_itself(turn: Turn) -> None:
    if needs_output(turn):
        return
    (path,) = turn.state.sinks.values()
    turn.emit(RunSucceeded(output=turn.state.payload(path)))


def _end_as_decided(turn: Turn) -> None:
    ending = turn.state.ending
    assert ending is not None
    if ending.cause == "cancel":
        turn.emit(RunCancelled(reason=ending.reason))
    elif ending.handover is not None:
        continue_run(turn, ending.handover)
    elif ending.error is not None:
        turn.emit(RunFailed(error=ending.error))
    else:
        turn.emit(RunSucceeded(output=ending.output or NULL, stopped=True))
