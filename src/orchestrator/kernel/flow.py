"""How a run flows: arrivals become tasks, joins wait for everything that can still come, and the run ends.

The rules of DESIGN section 3. `settle` is called at the end of every turn that may have changed what is live.
"""

from collections.abc import Mapping, Sequence

from orchestrator.errors import InternalError
from orchestrator.kernel.compensation import EVENTS_EACH, compensate_next
from orchestrator.kernel.ending import begin_stopping
from orchestrator.kernel.events import BudgetExceeded, RunCancelled, RunFailed, RunSucceeded, TaskScheduled
from orchestrator.kernel.reading import path_of, reads_of
from orchestrator.kernel.state import Arrival, RunState
from orchestrator.kernel.turn import JOURNAL_EVENTS_MAX, JOURNAL_EVENTS_RESERVED, Turn
from orchestrator.kernel.values import NO_ORIGIN, NULL, ErrorInfo, Origin
from orchestrator.model.definition import NodeDefinition


def settle(turn: Turn) -> None:
    """Schedule all that can start now, then end the run if nothing is left."""
    state = turn.state
    while state.ending is None and state.arrivals:
        if not (_schedule_arrivals(turn) or _schedule_a_join(turn)):
            break
    if state.tasks or not state.status.live:
        return
    if state.ending is not None:
        if not compensate_next(turn):
            _end_as_decided(turn)
    elif not state.arrivals:
        _end_by_itself(turn)
    else:
        waiting = ", ".join(f"`{node}`" for node in state.arrivals)
        raise InternalError(f"nothing is live in run {state.run_id}, but {waiting} did not run")


def schedule_start(turn: Turn) -> None:
    """The first task of a run."""
    _schedule(turn, turn.node(turn.definition.start_at), NO_ORIGIN, join=False)


def _schedule_arrivals(turn: Turn) -> bool:
    """A node with one way in runs on each arrival."""
    state, scheduled = turn.state, False
    for node_id in list(state.arrivals):
        node = turn.node(node_id)
        if node.is_join:
            continue
        while state.ending is None and (waiting := state.arrivals.get(node_id)):
            _schedule(turn, node, waiting[0].origin, join=False)
            scheduled = True
    return scheduled


def _schedule_a_join(turn: Turn) -> bool:
    """Run the first join that nothing can reach any more. One at a time: once it is live, it may hold others back."""
    node_id = _next_join(turn)
    if node_id is None:
        return False
    origin = Origin(sources=_by_source(turn.state.arrivals[node_id]))
    _schedule(turn, turn.node(node_id), origin, join=True)
    return True


def _by_source(arrivals: Sequence[Arrival]) -> dict[str, list[Origin]]:
    sources: dict[str, list[Origin]] = {}
    for arrival in arrivals:
        sources.setdefault(arrival.source, []).append(arrival.origin)
    return sources


def _next_join(turn: Turn) -> str | None:
    """The join to run now: no live task and no other waiting join can still reach it.

    Joins that wait only for one another (a loop with two entries, an agent that may go anywhere) would wait for ever:
    of such a knot the first in the saved order runs.
    """
    state, graph = turn.state, turn.definition.graph
    live = state.live
    waiting = sorted(state.arrivals, key=lambda n: turn.node(n).order)
    blocked_by: dict[str, list[str]] = {}
    for node_id in waiting:
        feeders = graph.feeders(node_id)
        if any(node in feeders for node in live):
            continue
        blockers = [other for other in waiting if other != node_id and other in feeders]
        if not blockers:
            return node_id
        blocked_by[node_id] = blockers
    for node_id in blocked_by:
        if _is_knot(node_id, blocked_by):
            return node_id
    return None


def _is_knot(join: str, blocked_by: Mapping[str, Sequence[str]]) -> bool:
    """Whether everything that the join waits for waits, in the end, for this join itself."""
    reached = _closure(join, blocked_by)
    return reached is not None and all(join in (_closure(other, blocked_by) or ()) for other in reached)


def _closure(join: str, blocked_by: Mapping[str, Sequence[str]]) -> set[str] | None:
    """All that the join waits for, directly or not; None if one of them waits for a live task, and so will move."""
    reached: set[str] = set()
    todo = list(blocked_by[join])
    while todo:
        other = todo.pop()
        if other in reached:
            continue
        if other not in blocked_by:
            return None
        reached.add(other)
        todo.extend(blocked_by[other])
    return reached


def _schedule(turn: Turn, node: NodeDefinition, origin: Origin, *, join: bool) -> None:
    """One task for the node, unless a limit of the run is reached: then the run begins to stop."""
    state = turn.state
    if state.counts.total >= turn.definition.budget_tasks:
        exceed_budget(turn, "tasks", limit=turn.definition.budget_tasks, value=state.counts.total + 1)
        return
    if journal_is_full(state):
        stop_for_full_journal(turn)
        return
    visit = state.visits.get(node.id, 0) + 1
    path, reads = path_of(node.id, visit), reads_of(state, node)
    turn.emit(TaskScheduled(path=path, node=node.id, visit=visit, previous=origin, reads=reads, join=join))


def journal_is_full(state: RunState) -> bool:
    """Whether what is left of the journal is kept for ending the run, and for taking back what it did."""
    return state.seq >= JOURNAL_EVENTS_MAX - JOURNAL_EVENTS_RESERVED - EVENTS_EACH * len(state.undo)


def stop_for_full_journal(turn: Turn) -> None:
    """Stop the run as failed while its journal has room to say so."""
    message = f"the journal has {turn.state.seq:,} of at most {JOURNAL_EVENTS_MAX:,} events"
    begin_stopping(turn, "failure", error=ErrorInfo(type="journal_full", message=message, retryable=False))


def exceed_budget(turn: Turn, budget: str, *, limit: int, value: int) -> None:
    """A budget is spent: say so, and stop the run as failed."""
    turn.emit(BudgetExceeded(budget=budget, limit=limit, value=value))
    unit = {"tasks": "tasks", "duration": "microseconds"}[budget]
    message = (
        f"the budget of {limit:,} {unit} is spent; raise `budget.{budget}` or look for a loop without exit"
    )
    begin_stopping(turn, "failure", error=ErrorInfo(type="budget_exceeded", message=message, retryable=False))


# --- the end ------------------------------------------------------------------------------------------------------


def needs_output(turn: Turn) -> bool:
    """Whether the run is over but for its output, whose value must come in with `FinishRun`."""
    state = turn.state
    idle = (
        not state.tasks
        and not state.arrivals
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
    elif ending.error is not None:
        turn.emit(RunFailed(error=ending.error))
    else:
        turn.emit(RunSucceeded(output=ending.output or NULL, stopped=True))
