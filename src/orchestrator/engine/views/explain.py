"""What a run waits for, as a person would say it, and as data.

Pure: the state's wakers (`pending_of`, kept in the summary too), the queue rows of the run and the time go in. The
kernel knows what has to happen; the rows know whether a worker holds a task, since when, and why one was given back.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from orchestrator.engine.views import words
from orchestrator.engine.views.crew import Crew
from orchestrator.kernel.joins import JoinWait
from orchestrator.kernel.outlook import Waker, wakers_of
from orchestrator.kernel.state import Items, RunState, container_path
from orchestrator.kernel.status import RunStatus
from orchestrator.kernel.values import ErrorInfo, rfc3339
from orchestrator.stores.contract import QueueRow, TaskKind

ERROR_SHOWN_CHARACTERS = 160
WAKERS_SHOWN_MAX = 100


class Pending(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A waker of the kernel, with what a sentence about it needs to know of its task."""

    waker: Waker
    attempt: int = 1
    error: str = ""
    doubt: str = ""
    compensates: str | None = None
    items: "ItemCounts | None" = None


class ItemCounts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How far a `for_each` is."""

    count: int
    open: int = 0
    completed: int = 0
    skipped: int = 0
    failed: int = 0


def item_counts(items: Items) -> ItemCounts:
    """The numbers of a `for_each`, from the state."""
    return ItemCounts(
        count=items.count,
        open=len(items.open),
        completed=items.completed,
        skipped=items.skipped,
        failed=items.failed,
    )


class Hold(NamedTuple):
    """Who paused a run (or cancelled it), and why."""

    by: str = ""
    reason: str = ""


NO_HOLD = Hold()


class Situation(NamedTuple):
    """What sentences are made from. `crew` None: nobody looked who is there."""

    status: RunStatus
    now_us: int
    pending: Sequence[Pending]
    rows: Mapping[str, QueueRow]
    total: int
    hold: Hold = NO_HOLD
    crew: Crew | None = None


class Explained(NamedTuple):
    """The sentence about a live run, and its wakers as views."""

    sentence: str
    wakers: list[dict[str, Any]]


def pending_of(state: RunState, *, limit: int | None = None) -> list[Pending]:
    """What a live run waits for; what needs somebody or something from outside comes first."""
    wakers = sorted(wakers_of(state), key=lambda waker: waker.kind == "queue")
    return [_pending(waker, state) for waker in wakers[:limit]]


def _pending(waker: Waker, state: RunState) -> Pending:
    task = state.tasks.get(waker.path) if waker.path is not None else None
    if task is None:
        return Pending(waker=waker)
    return Pending(
        waker=waker,
        compensates=task.compensates,
        attempt=task.attempt,
        error=_short_error(task.error) if task.error is not None else "",
        doubt=words.shortened(task.doubt or "", characters=ERROR_SHOWN_CHARACTERS),
        items=item_counts(task.items) if task.items is not None else None,
    )


def _short_error(error: ErrorInfo) -> str:
    return words.shortened(f"{error.type}: {error.message}", characters=ERROR_SHOWN_CHARACTERS)


def by_path(rows: Iterable[QueueRow]) -> dict[str, QueueRow]:
    """The rows that have to do with a task, by its path."""
    return {row.path: row for row in rows if row.kind is not TaskKind.MESSAGE}


def explain(situation: Situation) -> Explained:
    """The sentence about a live run, and its wakers as views, the most telling ones first."""
    found = [_look(pending, situation) for pending in situation.pending]
    found.sort(key=lambda one: one.rank)
    if not found:
        return Explained("Nothing will move this run on: that is a bug in Agentic Orchestrator", [])
    return Explained(_whole(found, situation.total), [one.view for one in found[:WAKERS_SHOWN_MAX]])


def explain_end(status: RunStatus, *, error: ErrorInfo | None, took_us: int | None, reason: str = "") -> str:
    """The sentence about a run that is over."""
    took = f" after {words.duration(took_us)}" if took_us is not None else ""
    if status is RunStatus.FAILED and error is not None:
        where = f" at `{error.path}`" if error.path else ""
        return f"Failed{took}{where}: {_short_error(error)}"
    if status is RunStatus.CANCELLED:
        return f"Cancelled{took}" + (f": {words.shortened(reason)}" if reason else "")
    return f"{status.value.capitalize()}{took}"


# --- one waker ----------------------------------------------------------------------------------------------------


class _Look(NamedTuple):
    """A waker looked at. `rank` says how telling it is; those of one `kind` are told together."""

    rank: int
    kind: str
    path: str
    sentence: str
    view: dict[str, Any]
    items: int = 0


def _look(pending: Pending, situation: Situation) -> _Look:
    waker = pending.waker
    row = situation.rows.get(waker.path) if waker.path is not None else None
    kind, rank, sentence = _TELL.get(waker.kind, _other)(pending, row, situation)
    at_us = waker.at_us
    if pending.compensates is not None:
        sentence = f"{sentence}; it compensates `{pending.compensates}`"
    view = {
        "kind": "timer" if kind == "grace" else "queue" if kind == "stuck" else kind,
        "path": waker.path,
        "node": waker.node,
        "sentence": sentence,
        "at": rfc3339(at_us) if at_us is not None else None,
        "name": waker.name if waker.kind in ("signal", "budget") else None,
        "run": waker.run,
        "worker": row.worker if row is not None and kind == "lease" else None,
    }
    items = pending.items.open if kind == "items" and pending.items is not None else 0
    return _Look(rank, kind, waker.path or "", sentence, view, items)


_Told = tuple[str, int, str]


def _operator(pending: Pending, row: QueueRow | None, situation: Situation) -> _Told:
    waker = pending.waker
    if waker.reason == "imported":
        return "operator", 0, "Read from a file, and stays as it is; a fork goes on from any of its events"
    if waker.path is None:
        by = f" by {situation.hold.by}" if situation.hold.by else ""
        why = f": {words.shortened(situation.hold.reason)}" if situation.hold.reason else ""
        return "operator", 0, f"Paused{by}{why}"
    why = f": {pending.doubt}" if pending.doubt else ""
    return "operator", 2, f"A person must resolve `{waker.path}`{why}"


def _grace(pending: Pending, row: QueueRow | None, situation: Situation) -> _Told:
    left = (pending.waker.at_us or 0) - situation.now_us
    what = "Is being cancelled" if situation.status is RunStatus.CANCELLING else "Is stopping"
    until = f"have {words.duration(left)} left" if left > 0 else "have had their time"
    return "grace", 1, f"{what}; tasks that run {until}"


def _queue(pending: Pending, row: QueueRow | None, situation: Situation) -> _Told:
    path, now_us = pending.waker.path, situation.now_us
    if row is None:
        return "queue", 8, f"Ready: `{path}` is about to be queued"
    if row.worker is not None:
        since = words.duration(now_us - row.leased_us) if row.leased_us is not None else ""
        attempt = f" (attempt {pending.attempt})" if pending.attempt > 1 else ""
        return "lease", 3, f"Runs `{path}`{attempt}" + (f" since {since}" if since else "")
    queued = words.duration(now_us - row.queued_us)
    if row.held:
        return "queue", 9, f"Ready: `{path}` starts when the run goes on"
    missing = "" if situation.crew is None else situation.crew.missing(pending.waker.node, row.queue)
    if missing:
        return "stuck", 4, f"Ready: `{path}` is queued since {queued}; {missing}"
    if row.note.startswith(("slot of ", "rate of ")):
        return "slot", 5, f"Waits in `{path}` since {queued} for {row.note}"
    if row.note:
        return "stuck", 4, f"Ready: `{path}` is queued since {queued}; {row.note}"
    if row.lost:
        noun = "worker" if row.lost == 1 else "workers"
        return "queue", 7, f"Ready: `{path}` is queued again since {queued}; it lost {row.lost} {noun}"
    return "queue", 8, f"Ready: `{path}` is queued since {queued}"


def _timer(pending: Pending, row: QueueRow | None, situation: Situation) -> _Told:
    waker, at_us = pending.waker, pending.waker.at_us or 0
    if waker.reason != "retry":
        return "timer", 6, f"Waits in `{waker.path}` {_until(at_us, situation.now_us)}"
    if row is not None and row.worker is not None:
        return _queue(pending, row, situation)
    left = at_us - situation.now_us
    starts = f"starts in {words.duration(left)}" if left > 0 else "is about to start"
    after = f", after `{pending.error}`" if pending.error else ""
    note = f"; {row.note}" if row is not None and row.note else ""
    return "timer", 5, f"Attempt {pending.attempt} of `{waker.path}` {starts}{after}{note}"


def _signal(pending: Pending, row: QueueRow | None, situation: Situation) -> _Told:
    waker = pending.waker
    until = f" {_until(waker.at_us, situation.now_us)}" if waker.at_us is not None else ""
    return "signal", 5, f"Waits for signal `{waker.name}` in `{waker.path}`{until}"


def _child(pending: Pending, row: QueueRow | None, situation: Situation) -> _Told:
    waker = pending.waker
    of = f" of `{waker.name}`" if waker.name else ""
    return "child", 5, f"Waits in `{waker.path}` for run `{waker.run}`{of}"


def _successor(pending: Pending, row: QueueRow | None, situation: Situation) -> _Told:
    return "successor", 1, f"Hands over to run `{pending.waker.run}`"


def _budget(pending: Pending, row: QueueRow | None, situation: Situation) -> _Told:
    name = words.BUDGETS.get(pending.waker.name or "", pending.waker.name)
    return "budget", 0, f"Paused: the budget of {name} is spent; the run goes on once it is raised"


def _items(pending: Pending, row: QueueRow | None, situation: Situation) -> _Told:
    items, path = pending.items, pending.waker.path
    if items is None:
        return "items", 3, f"Runs the items of `{path}`"
    parts = [f"{items.completed + items.skipped:,} done"]
    parts += [f"{items.failed:,} failed"] if items.failed else []
    does = "waits for" if situation.status is RunStatus.WAITING else "runs"
    return "items", 3, f"`{path}` {does} {items.open:,} of {items.count:,} items; {', '.join(parts)}"


def _plan(pending: Pending, row: QueueRow | None, situation: Situation) -> _Told:
    return "plan", 9, f"`{pending.waker.path}` waits until its plan is done"


def _other(pending: Pending, row: QueueRow | None, situation: Situation) -> _Told:
    waker = pending.waker
    where = f" in `{waker.path}`" if waker.path else ""
    return waker.kind, 6, f"Waits for {waker.kind}{where}"


def _until(at_us: int, now_us: int) -> str:
    at = words.moment(at_us, now_us=now_us)
    left = at_us - now_us
    return f"until {at}, {words.duration(left)} left" if left > 0 else f"until {at}, which has come"


_TELL: Mapping[str, Callable[[Pending, QueueRow | None, Situation], _Told]] = {
    "operator": _operator,
    "grace": _grace,
    "queue": _queue,
    "timer": _timer,
    "signal": _signal,
    "child": _child,
    "successor": _successor,
    "budget": _budget,
    "items": _items,
    "plan": _plan,
}


# --- joins --------------------------------------------------------------------------------------------------------


def tell_join(join: JoinWait) -> str:
    """The sentence about a join that waits."""
    came = f"{join.has:,} {'arrival' if join.has == 1 else 'arrivals'}"
    source = f", from {words.names(join.coming)}" if join.coming else ""
    if join.held_back:
        return f"`{join.node}` is held back with {came}: a task that could have reached it failed"
    if join.held:
        return f"`{join.node}` begins its next round, with {came}, when this one is over: {words.names(join.coming)}"
    if join.wants is None:
        return f"`{join.node}` has {came} and waits for what can still come{source}"
    return f"`{join.node}` waits for {max(join.wants - join.has, 0):,} of {join.wants:,} more{source}"


def join_view(join: JoinWait) -> dict[str, Any]:
    """A join that waits, as data."""
    return {
        "node": join.node,
        "has": join.has,
        "wants": join.wants,
        "coming": join.coming[:WAKERS_SHOWN_MAX],
        "held": join.held,
        "held_back": join.held_back,
        "sentence": tell_join(join),
    }


# --- the whole run ------------------------------------------------------------------------------------------------


_APART = ("operator", "stuck")
"""Wakers of items that are told beside their `for_each`."""


def _whole(found: Sequence[_Look], total: int) -> str:
    """The most telling waker; several tasks that run are named together; the rest is counted.

    Items of a `for_each` are told with it, unless they need somebody.
    """
    containers = {one.path for one in found if one.kind == "items"}
    told_with = [one for one in found if container_path(one.path) in containers and one.kind not in _APART]
    found = [one for one in found if one not in told_with]
    total -= max(sum(one.items for one in found), len(told_with))
    first = found[0]
    running = [one for one in found if one.kind == "lease"]
    if first.kind == "lease" and len(running) > 1:
        told, clause = len(running), f"Runs {words.names([one.path for one in running])}"
    else:
        told, clause = 1, first.sentence
    others = max(total, len(found)) - told
    if others <= 0 or first.rank == 0:
        return clause
    second = next((one for one in found if one.kind != first.kind), None)
    if others == 1 and second is not None:
        return f"{clause}. {second.sentence}"
    return f"{clause}, and {others:,} {'other' if others == 1 else 'others'}"
