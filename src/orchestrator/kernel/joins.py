"""Joins: which one runs now, which one never will, and what becomes of the rest of its round (DESIGN section 3).

A join `all` runs once nothing live can still come to it. A join by number (`any` is 1) runs at its n-th arrival: that
ends the gathering of its round, not the round. What was live then and could still come is *late* from there on: the
mark goes with it from task to arrival to task, and what it sends to the join is swallowed. An arrival without the mark
belongs to the next round, which begins once nothing late can come any more.

What is late for a join can't come through it either: other joins don't wait for it if there is no way around.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import Enum
from itertools import islice
from typing import NamedTuple

from orchestrator.kernel.ending import withdraw
from orchestrator.kernel.events import ArrivalSwallowed, JoinHeldBack
from orchestrator.kernel.state import Arrival, RunState, TaskState
from orchestrator.kernel.status import TaskStatus
from orchestrator.kernel.turn import Turn
from orchestrator.kernel.values import ErrorInfo
from orchestrator.model.definition import Definition
from orchestrator.model.grafts import grafted
from orchestrator.model.graph import Graph
from orchestrator.model.joins import JoinKind

UNSATISFIED = "join_unsatisfied"
"""Error type of a join by number that can no longer get its n-th arrival."""


class Verdict(Enum):
    """What is due of a join that nothing can come to any more, or that has all it wants."""

    RUN = "run"
    FAIL = "fail"
    HOLD = "hold"


class Due(NamedTuple):
    """The join that something is due of."""

    node: str
    verdict: Verdict


class Rest(NamedTuple):
    """What was still on its way to a join: open tasks by path, and joins at which arrivals wait."""

    tasks: list[str]
    joins: list[str]


NO_REST = Rest([], [])


# --- what can come -----------------------------------------------------------------------------------------------


def is_on_its_way(graph: Graph, node: str, late: Collection[str], join: str) -> bool:
    """Whether something at `node` can still get to the join this time round, were it late for it or not."""
    if join not in graph.order_of or node not in graph.feeders(join):
        return False  # a fork may go on with a version that lacks the join
    barred = [other for other in late if other != join]
    return not barred or node in graph.feeders(join, without=frozenset(barred))


def can_come(graph: Graph, node: str, late: Collection[str], join: str) -> bool:
    """Whether something at `node` can still come to the join and count there."""
    return join not in late and is_on_its_way(graph, node, late, join)


def late_of(graph: Graph, node: str, arrivals: Sequence[Arrival]) -> list[str]:
    """The joins that a task at `node`, led to by these arrivals, is late for: those that all of them are."""
    if not arrivals or not arrivals[0].late:
        return []
    common = [join for join in arrivals[0].late if all(join in other.late for other in arrivals[1:])]
    return [join for join in common if is_on_its_way(graph, node, common, join)]


def _live_can_come(state: RunState, graph: Graph, join: str) -> bool:
    if graph.feeders(join).isdisjoint(state.live):
        return False
    return not state.late or any(can_come(graph, task.node, task.late, join) for task in state.tasks.values())


def _joins_on_their_way(state: RunState, graph: Graph, join: str, waiting: Iterable[str]) -> list[str]:
    """The other waiting joins whose run could still come to this one and count."""
    feeders = graph.feeders(join)
    return [
        other
        for other in waiting
        if other != join
        and other in feeders
        and (not state.late or can_come(graph, other, late_of(graph, other, state.arrivals[other]), join))
    ]


# --- which join --------------------------------------------------------------------------------------------------


def next_join(turn: Turn) -> Due | None:
    """The first waiting join, in the saved order, that nothing can come to any more or that has all it wants.

    Joins that wait only for one another (a loop with two entries, an agent that may go anywhere) would wait for ever:
    of such a knot the first in the saved order runs, one that lacks arrivals only if no other can.
    """
    state = turn.state
    waiting = [node for node in state.arrivals if node not in state.held_back]
    waiting.sort(key=lambda node: turn.node(node).order)
    blocked_by: dict[str, Sequence[str]] = {}
    for join in waiting:
        blockers = _blockers(turn, join, waiting)
        if blockers is None:
            continue
        if not blockers:
            return Due(join, _verdict(turn, join))
        blocked_by[join] = blockers
    knots = [Due(join, _verdict(turn, join)) for join in blocked_by if _is_knot(join, blocked_by)]
    able = (due for due in knots if due.verdict is not Verdict.FAIL)
    return next(able, knots[0] if knots else None)


def _blockers(turn: Turn, join: str, waiting: Sequence[str]) -> Sequence[str] | None:
    """The waiting joins that this one waits for; None if it waits for something live."""
    state, graph, rule = turn.state, turn.definition.graph, turn.node(join).join
    if join in state.late:
        blockers = _rest_of_last_round(state, graph, join, waiting)
        if blockers is None or blockers:
            return blockers
    if rule.kind is not JoinKind.ALL and not lacks(turn.definition, join, state.arrivals[join]):
        return ()
    if _live_can_come(state, graph, join):
        return None
    return _joins_on_their_way(state, graph, join, waiting)


def _rest_of_last_round(
    state: RunState, graph: Graph, join: str, waiting: Sequence[str]
) -> Sequence[str] | None:
    """The waiting joins that hold something late for this one; None if something live is late."""
    for task in state.tasks.values():
        if join in task.late and is_on_its_way(graph, task.node, task.late, join):
            return None
    return [
        other
        for other in waiting
        if any(join in arrival.late for arrival in state.arrivals[other])
        and is_on_its_way(graph, other, late_of(graph, other, state.arrivals[other]), join)
    ]


def _verdict(turn: Turn, join: str) -> Verdict:
    state, rule = turn.state, turn.node(join).join
    if rule.kind is not JoinKind.ALL:
        return Verdict.FAIL if lacks(turn.definition, join, state.arrivals[join]) else Verdict.RUN
    return Verdict.HOLD if state.set_aside and failed_before(turn, join) else Verdict.RUN


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


# --- what becomes of it ------------------------------------------------------------------------------------------


def failed_before(turn: Turn, join: str) -> list[str]:
    """The failed tasks that could have reached the join, by themselves or through a join that is held back."""
    state, graph = turn.state, turn.definition.graph
    held = _joins_on_their_way(state, graph, join, state.held_back)
    return [
        task.path
        for task in state.set_aside.values()
        if task.status is TaskStatus.FAILED
        and any(can_come(graph, task.node, task.late, node) for node in (join, *held))
    ]


def lacks(definition: Definition, join: str, arrivals: Sequence[Arrival]) -> bool:
    """Whether a join by number, or one of each, has too few arrivals yet."""
    rule = definition.nodes[join].join
    if rule.kind is JoinKind.COUNT:
        return len(arrivals) < rule.wants
    came = {arrival.source for arrival in arrivals}
    return not came.issuperset(definition.graph.ways_in[join])


def oldest_of_each(arrivals: Sequence[Arrival]) -> list[int]:
    """The places of the first arrival from each source, in order."""
    first: dict[str, int] = {}
    for place, arrival in enumerate(arrivals):
        first.setdefault(arrival.source, place)
    return list(first.values())


def hold_back(turn: Turn, join: str) -> None:
    """Record that the join doesn't run, and because of which failures."""
    turn.emit(JoinHeldBack(node=join, failed=failed_before(turn, join)))


def rest_of_round(turn: Turn, join: str) -> Rest:
    """What is still on its way to a join by number that is about to run."""
    state, graph = turn.state, turn.definition.graph
    feeders = graph.feeders(join)
    tasks: list[str] = []
    if not feeders.isdisjoint(state.live):
        tasks = [t.path for t in state.tasks.values() if can_come(graph, t.node, t.late, join)]
    return Rest(tasks, _joins_on_their_way(state, graph, join, state.arrivals))


def drop_rest(turn: Turn, join: str, rest: Rest) -> None:
    """The join has run: what came beside is swallowed, and with `rest: cancel` all that could still come withdrawn."""
    for arrival in list(turn.state.arrivals.get(join, ())):
        turn.emit(ArrivalSwallowed(node=join, source=arrival.source, reason="surplus"))
    if turn.node(join).join.cancel_rest:
        for path in rest.tasks:
            withdraw(turn, turn.state.tasks[path], reason=f"`{join}` went on without it", final=True)
        for other in rest.joins:
            swallow_all(turn, other, "cancelled")


def swallow_all(turn: Turn, node: str, reason: str) -> None:
    """Drop every arrival that waits at the node."""
    for arrival in list(turn.state.arrivals.get(node, ())):
        turn.emit(ArrivalSwallowed(node=node, source=arrival.source, reason=reason))


def swallow_late(turn: Turn) -> bool:
    """Drop the arrivals that came too late for the round of their join; whether there were any."""
    state, found = turn.state, False
    if not state.late:
        return False
    for node in [node for node in state.arrivals if node in state.late]:
        for place in range(len(state.arrivals[node]) - 1, -1, -1):
            arrival = state.arrivals[node][place]
            if node in arrival.late:
                turn.emit(ArrivalSwallowed(node=node, source=arrival.source, reason="late", place=place))
                found = True
    return found


def withdraw_cancelled(turn: Turn, task: TaskState, *, spared: Collection[str] = ()) -> None:
    """The task is about to complete: withdraw what its node `cancels`, other visits of itself included.

    `spared`: paths of tasks that complete with it. An item withdraws nothing: its node completes later.
    """
    nodes = turn.node(task.node).cancels if task.item is None else ()
    state = turn.state
    if not nodes or not any(node in state.live or node in state.arrivals for node in nodes):
        return
    others = [other for other in state.tasks.values() if other.node in nodes and other is not task]
    for other in [other for other in others if other.path not in spared]:
        withdraw(turn, other, reason=f"`{task.path}` completed, which cancels it", final=True)
    for node in nodes:
        swallow_all(turn, node, "cancelled")


def unsatisfied(turn: Turn, join: str, task: TaskState) -> ErrorInfo:
    """Why a join by number fails, whose task has taken all that came."""
    rule = turn.node(join).join
    what = f"{rule.wants} arrivals" if rule.kind is JoinKind.COUNT else "an arrival from each way in"
    message = f"`{join}` waits for {what}; {_taken(task)} came, and nothing more can come"
    return ErrorInfo(type=UNSATISFIED, message=message, retryable=False, path=task.path, node=join, attempt=1)


def _lacked_arrivals(definition: Definition, task: TaskState) -> bool:
    """Whether the task is that of a join that failed for want of arrivals: a retry must not run it."""
    node = definition.nodes.get(task.node)
    sources = task.previous.sources
    if node is None or sources is None:
        return False
    match node.join.kind:
        case JoinKind.COUNT:
            return _taken(task) < node.join.wants
        case JoinKind.ONE_OF_EACH:
            return any(way not in sources for way in definition.graph.ways_in[node.id])
        case _:
            return False


def _taken(task: TaskState) -> int:
    return sum(len(several) for several in (task.previous.sources or {}).values())


def joins_that_lacked_arrivals(turn: Turn) -> list[str]:
    """Tasks that failed for want of arrivals: what they had taken waits again, since more may come now."""
    return [task.path for task in turn.state.set_aside.values() if _lacked_arrivals(turn.definition, task)]


# --- for whoever asks --------------------------------------------------------------------------------------------


class JoinWait(NamedTuple):
    """A join at which something waits. `wants` None: all that can come. `coming`: open tasks that still can.

    `held`: its next round waits until what is late for the last one is gone, which is `coming` then.
    `held_back`: a failed task could have reached it, and it doesn't run.
    """

    node: str
    has: int
    wants: int | None
    coming: list[str]
    held: bool
    held_back: bool


def waiting_joins(state: RunState, definition: Definition, *, limit: int) -> list[JoinWait]:
    """The first `limit` joins at which arrivals wait, in the order of their first."""
    definition = grafted(definition, state.plans)
    graph, found = definition.graph, list[JoinWait]()
    for node, arrivals in islice(state.arrivals.items(), limit):
        rule = definition.nodes[node].join
        open_tasks = state.tasks.values()
        late = [t.path for t in open_tasks if node in t.late and is_on_its_way(graph, t.node, t.late, node)]
        coming = late or [t.path for t in open_tasks if can_come(graph, t.node, t.late, node)]
        wants = rule.wants if rule.kind is JoinKind.COUNT else None
        held_back = node in state.held_back
        found.append(JoinWait(node, len(arrivals), wants, coming, bool(late), held_back))
    return found
