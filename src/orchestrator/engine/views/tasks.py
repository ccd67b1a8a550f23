"""Tasks as the API shows them, from the fold of the journal, the leases and what runs at this moment. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from orchestrator.engine.views.explain import Hold, Pending, Situation, explain
from orchestrator.engine.views.runs import View, error_view, running_paths, span_us, time_or_none
from orchestrator.engine.views.tasklog import TaskLog, origin_paths
from orchestrator.engine.views.tasktable import (
    EVERY_TASK,
    Attempt,
    Step,
    TaskFilter,
    TaskRecord,
    TaskTable,
)
from orchestrator.kernel.events import DecisionMade
from orchestrator.kernel.outlook import Waker
from orchestrator.kernel.state import container_path
from orchestrator.kernel.status import RunStatus, TaskStatus
from orchestrator.kernel.values import CachedFrom, rfc3339
from orchestrator.model.definition import Definition
from orchestrator.model.grafts import grafted
from orchestrator.stores.contract import QueueRow

FAILURES_SHOWN_MAX = 10
"""Of the items of one task; the rest is found with a filter."""


class Present(NamedTuple):
    """What is true of a run now and in no journal: its queue rows by path, its status, the time."""

    rows: Mapping[str, QueueRow]
    status: RunStatus
    now_us: int


class Leased(NamedTuple):
    """The worker that holds a task, and since when."""

    worker: str
    since_us: int


def task_views(log: TaskLog, definition: Definition, present: Present) -> list[View]:
    """Every task of the run, in the order of their scheduling."""
    return task_page(log, definition, present, where=EVERY_TASK, start=0, limit=len(log.tasks))[0]


def task_page(
    log: TaskLog, definition: Definition, present: Present, *, where: TaskFilter, start: int, limit: int
) -> tuple[list[View], int | None]:
    """At most `limit` of the wanted tasks from position `start` on, and where the next page begins (None: nowhere)."""
    views: list[View] = []
    seen = grafted(definition, log.plans)
    for position, record in log.tasks.select(where, start=start):
        if where.statuses and _status(record, present) not in where.statuses:
            continue
        if len(views) == limit:
            return views, position
        views.append(task_view(record, seen, present, table=log.tasks))
    return views, None


def task_view(
    record: TaskRecord, definition: Definition, present: Present, *, table: TaskTable | None = None
) -> View:
    """One task without its values; with the `table` that it stands in also how far its items are.

    `definition` is what the run sees: its version, with its plans.
    """
    node = definition.nodes.get(record.node)
    leased = _leased(record, present)
    status = _status(record, present)
    started_at = record.started_at or (rfc3339(leased.since_us) if leased is not None else "")
    return {
        "path": record.path,
        "node": record.node,
        "class": node.declaration.name if node is not None else "",
        "visit": record.visit,
        "status": status.value,
        "attempt": record.attempt,
        "attempts": _attempts(record, leased, present),
        "scheduled_at": time_or_none(record.scheduled_at),
        "started_at": time_or_none(started_at),
        "finished_at": time_or_none(record.finished_at),
        "duration_us": span_us(started_at, record.finished_at),
        "effect": node.effect.value if node is not None else None,
        "decision": decision_view(record.decision),
        "error": error_view(record.error),
        "waiting_for": _waiting_for(record, present),
        "previous": origin_paths(record.previous),
        "steps": [step_view(step) for step in record.steps.values()],
        "output_bytes": record.output_bytes,
        "reason": record.reason or record.doubt or None,
        "from_parent": record.from_parent,
        "compensates": record.compensates,
        "compensated_by": record.compensated_by,
        "item": record.item,
        "items": items_view(table, record.path, present) if table is not None else None,
        "cached": cached_view(record.cached),
    }


def items_view(table: TaskTable, path: str, present: Present) -> View | None:
    """How far the items of a `for_each` task are, and the first that failed; None: it has none, or not yet."""
    container = table.container(path)
    if container is None:
        return None
    counts = dict(container.by_status)
    if counts[TaskStatus.READY]:
        places = (row.path for row in present.rows.values() if row.worker is not None)
        running = sum(1 for at in places if at.startswith(path) and container_path(at) == path)
        running = min(running, counts[TaskStatus.READY])
        counts[TaskStatus.READY] -= running
        counts[TaskStatus.RUNNING] += running
    failed = table.first_items(path, TaskStatus.FAILED, limit=FAILURES_SHOWN_MAX)
    return {
        "count": container.count,
        "scheduled": len(container.places),
        **{status.value: counts[status] for status in TaskStatus},
        "first_failures": [
            {"path": one.path, "item": one.item, "error": error_view(one.error)} for one in failed
        ],
    }


def cached_view(cached: CachedFrom | None) -> View | None:
    """Where the output of a task that didn't run comes from."""
    return None if cached is None else {"run": cached.run, "path": cached.path, "at": cached.at}


def decision_view(decision: DecisionMade | None) -> View | None:
    """Why a task sent the run where it sent it."""
    if decision is None:
        return None
    return {
        "chosen": [{"label": chosen.label, "node": chosen.node} for chosen in decision.chosen],
        "allowed": list(decision.allowed),
        "reason": decision.reason,
        "confidence": decision.confidence,
        "by": decision.by,
        "model": decision.model,
        "cost_usd": decision.cost_usd,
    }


def step_view(step: Step) -> View:
    """A step without its value."""
    return {
        "name": step.name,
        "step": step.step,
        "status": step.status,
        "effect": step.effect,
        "at": time_or_none(step.finished_at or step.started_at),
        "duration_us": span_us(step.started_at, step.finished_at),
        "error": error_view(step.error),
    }


def _status(record: TaskRecord, present: Present) -> TaskStatus:
    return TaskStatus.RUNNING if _leased(record, present) is not None else record.status


def _leased(record: TaskRecord, present: Present) -> Leased | None:
    if record.status is not TaskStatus.READY:
        return None
    row = present.rows.get(record.path)
    if row is None or row.worker is None:
        return None
    return Leased(row.worker, row.leased_us if row.leased_us is not None else present.now_us)


def _attempts(record: TaskRecord, leased: Leased | None, present: Present) -> list[View]:
    views = [_attempt_view(attempt) for attempt in record.attempts]
    if leased is not None:
        row = present.rows[record.path]
        current = Attempt(
            attempt=record.attempt,
            worker=leased.worker,
            queued_at=rfc3339(row.queued_us),
            started_at=rfc3339(leased.since_us),
        )
        if views and views[-1]["attempt"] == record.attempt:
            views.pop()
        views.append(_attempt_view(current))
    return views


def _attempt_view(attempt: Attempt) -> View:
    return {
        "attempt": attempt.attempt,
        "worker": attempt.worker or None,
        "queued_at": time_or_none(attempt.queued_at),
        "started_at": time_or_none(attempt.started_at),
        "finished_at": time_or_none(attempt.finished_at),
        "error": error_view(attempt.error),
    }


def _waiting_for(record: TaskRecord, present: Present) -> View | None:
    """The waker of one open task; of several waits the first that can be told."""
    if record.over:
        return None
    situation = Situation(
        status=present.status,
        now_us=present.now_us,
        pending=_pending(record),
        rows=present.rows,
        total=1,
        hold=Hold(),
    )
    wakers = explain(situation).wakers
    return wakers[0] if wakers else None


def _pending(record: TaskRecord) -> Sequence[Pending]:
    path, node = record.path, record.node
    error = f"{record.error.type}: {record.error.message}"[:160] if record.error is not None else ""
    if record.status is TaskStatus.IN_DOUBT:
        waker = Waker(kind="operator", path=path, node=node, reason="in_doubt")
        return [Pending(waker=waker, doubt=record.doubt)]
    if record.status is TaskStatus.WAITING:
        return [
            Pending(
                waker=Waker(
                    kind=wait.kind,
                    path=path,
                    node=node,
                    at_us=wait.due_us,
                    name=wait.name or wait.workflow,
                    run=wait.run,
                )
            )
            for wait in record.waits.values()
        ]
    if record.not_before_us and record.error is not None:
        waker = Waker(kind="timer", path=path, node=node, at_us=record.not_before_us, reason="retry")
        return [Pending(waker=waker, attempt=record.attempt, error=error)]
    return [Pending(waker=Waker(kind="queue", path=path, node=node), attempt=record.attempt)]


def present_of(rows: Sequence[QueueRow], *, status: RunStatus, now_us: int) -> Present:
    """What is true now, from the run's queue rows."""
    by_path = {row.path: row for row in rows if row.kind.value == "timer"}
    by_path |= {row.path: row for row in rows if row.kind.value == "execute"}
    by_path |= running_paths(rows)
    return Present(by_path, status, now_us)


def task_detail(
    view: View, *, params: Any, input: Any, output: Any, late: Any, steps: Any, logs: Any
) -> View:
    """A task with its values."""
    return {
        **view,
        "params": params,
        "input": input,
        "output": output,
        "late": late,
        "steps": steps,
        "logs": logs,
    }
