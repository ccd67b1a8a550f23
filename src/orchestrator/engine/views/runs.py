"""Runs as the API shows them: plain JSON data in the shapes that clients rely on. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from orchestrator.engine.runs.summary import TaskTotals, decode_summary
from orchestrator.engine.views.crew import Crew
from orchestrator.engine.views.explain import NO_HOLD, Explained, Hold, Pending, Situation, by_path, explain
from orchestrator.engine.views.payloads import payload_view
from orchestrator.errors import Fault
from orchestrator.kernel.budgets import BUDGETS, limit_of
from orchestrator.kernel.state import Arrival, Compensation, RunState, TaskState
from orchestrator.kernel.status import RunStatus
from orchestrator.kernel.values import ErrorInfo, Origin, Wait, microseconds, rfc3339
from orchestrator.model.definition import Definition
from orchestrator.stores.contract import QueueRow, RunRow, TaskKind

View = dict[str, Any]


def fault_view(fault: Fault) -> View:
    """A fault, or a hint."""
    return {
        "pointer": fault.pointer,
        "code": fault.code,
        "message": fault.message,
        "suggestion": fault.suggestion,
        **({"line": fault.line, "column": fault.column} if fault.line is not None else {}),
    }


def error_view(error: ErrorInfo | None) -> View | None:
    """Why something failed."""
    if error is None:
        return None
    details = None
    if error.details is not None:
        details = {name: msgspec.json.decode(bytes(value)) for name, value in error.details.items()}
    return {
        "type": error.type,
        "message": error.message,
        "path": error.path,
        "node": error.node,
        "attempt": error.attempt,
        "retryable": error.retryable,
        "details": details,
    }


def time_or_none(at: str) -> str | None:
    """A time that may not have come."""
    return at or None


def span_us(started_at: str, finished_at: str) -> int | None:
    """Microseconds between two times; None as long as one of them hasn't come."""
    if not started_at or not finished_at:
        return None
    return max(0, microseconds(finished_at) - microseconds(started_at))


# --- runs ---------------------------------------------------------------------------------------------------------


def running_paths(rows: Iterable[QueueRow]) -> dict[str, QueueRow]:
    """The tasks that a worker runs at this moment, by path."""
    return {row.path: row for row in rows if row.worker is not None and row.kind is TaskKind.EXECUTE}


def run_summary(
    row: RunRow, *, rows: Iterable[QueueRow], now_us: int, hold: Hold = NO_HOLD, crew: Crew | None = None
) -> View:
    """A run as lists show it, from its line in the store and its queue rows.

    A run whose first task a worker holds counts as `running`, although its journal says nothing of that yet.
    """
    summary = decode_summary(row.summary)
    known = list(rows)
    running = running_paths(known)
    status = RunStatus(row.index.status)
    if status is RunStatus.QUEUED and running:
        status = RunStatus.RUNNING
    waiting: View | None = None
    imported = summary.imported
    if row.index.live or (imported is not None and status.live):
        said = explain_pending(
            summary.waiting,
            status=status,
            rows=known,
            now_us=now_us,
            total=summary.wakers,
            hold=hold,
            crew=crew,
        )
        waiting = {"sentence": said.sentence, "wakers": said.wakers}
    begun = summary.started_at or summary.created_at
    parent, origin = summary.parent, summary.forked_from
    return {
        "id": row.run_id,
        "workflow": row.index.workflow,
        "version": row.index.version,
        "status": status.value,
        "error": error_view(summary.error),
        "cancelled_for": summary.cancelled_for,
        "labels": dict(row.index.labels),
        "created_at": summary.created_at or rfc3339(row.index.created_us),
        "started_at": time_or_none(summary.started_at),
        "finished_at": time_or_none(summary.finished_at),
        "parent": None if parent is None else {"run": parent.run, "path": parent.path},
        "forked_from": None if origin is None else {"run": origin.run, "seq": origin.seq},
        "continues": summary.continues,
        "continued_as": summary.continued_as,
        "compensation": compensation_view(summary.compensation),
        "imported": None
        if imported is None
        else {"run": imported.run, "seq": imported.seq, "sha256": imported.sha256, "at": imported.at},
        "erased": None
        if summary.erased is None
        else {"at": summary.erased.at, "by": summary.erased.by, "complete": not summary.erasing},
        "waiting_for": waiting,
        "seq": row.seq,
        "tasks": _counts(summary.tasks, running=len(running)),
        "duration_us": span_us(begun, summary.finished_at),
    }


def compensation_view(compensation: Compensation | None) -> View | None:
    """How far a run has taken back what it did; None: it hasn't begun to."""
    if compensation is None:
        return None
    done = compensation.completed + compensation.failed
    return {
        "total": compensation.total,
        "completed": compensation.completed,
        "failed": compensation.failed,
        "left": compensation.total - done,
    }


def explain_pending(
    pending: Iterable[Pending],
    *,
    status: RunStatus,
    rows: Iterable[QueueRow],
    now_us: int,
    total: int,
    hold: Hold = NO_HOLD,
    crew: Crew | None = None,
) -> Explained:
    """What a live run waits for."""
    situation = Situation(
        status=status,
        now_us=now_us,
        pending=tuple(pending),
        rows=by_path(rows),
        total=total,
        hold=hold,
        crew=crew,
    )
    return explain(situation)


def _counts(tasks: TaskTotals, *, running: int) -> View:
    running = min(running, tasks.ready)
    return {
        "total": tasks.total,
        "completed": tasks.completed,
        "failed": tasks.failed,
        "skipped": tasks.skipped,
        "running": running,
        "waiting": tasks.waiting,
        "in_doubt": tasks.in_doubt,
        "ready": tasks.ready - running,
        "cancelled": tasks.cancelled,
    }


def run_view(summary: View, *, input: Any, output: Any, budget: View) -> View:
    """A whole run: its summary with its values."""
    return {**summary, "input": input, "output": output, "budget": budget}


def budget_view(state: RunState, definition: Definition, *, active_us: int) -> View:
    """What the run has used and reserved of each budget, and its limit (None: it has none)."""
    spent, reserved = state.spent, state.reserved
    limit = {budget: limit_of(state, definition, budget) for budget in BUDGETS}
    return {
        "tasks": {"used": state.carried_tasks + state.counts.total, "limit": limit["tasks"]},
        "duration_us": {"used": active_us, "limit": limit["duration"]},
        "tokens": {"used": spent.tokens, "reserved": reserved.tokens, "limit": limit["tokens"]},
        "cost_usd": {
            "used": spent.nano_usd / 1_000_000_000,
            "reserved": reserved.nano_usd / 1_000_000_000,
            "limit": limit["cost_usd"],
        },
    }


# --- the state at a seq -------------------------------------------------------------------------------------------


def state_view(state: RunState, definition: Definition, *, active_us: int) -> View:
    """What a run knew at the end of a group."""
    return {
        "seq": state.seq,
        "status": state.status.value,
        "input": payload_view(state.input),
        "variables": {name: payload_view(state.payload(key)) for name, key in state.variables.items()},
        "open": [_open_task(task) for task in state.tasks.values()],
        "outputs": {node: payload_view(state.payload(path)) for node, path in state.latest.items()},
        "arrivals": {node: [_arrival(a) for a in came] for node, came in state.arrivals.items()},
        "signals": [
            {"seq": s.seq, "name": s.name, "payload": payload_view(s.payload)} for s in state.signals
        ],
        "budget": budget_view(state, definition, active_us=active_us),
        "output": payload_view(state.output),
        "error": error_view(state.error),
    }


def _open_task(task: TaskState) -> View:
    return {
        "path": task.path,
        "node": task.node,
        "visit": task.visit,
        "status": task.status.value,
        "attempt": task.attempt,
        "scheduled_at": time_or_none(task.scheduled_at),
        "not_before": rfc3339(task.not_before_us) if task.not_before_us else None,
        "previous": origin_view(task.previous),
        "waits": [wait_view(wait) for wait in task.waits.values()],
        "steps": {step: {"name": known.name, "kind": known.kind} for step, known in task.steps.items()},
        "error": error_view(task.error),
        "doubt": task.doubt,
    }


def _arrival(arrival: Arrival) -> View:
    return {"source": arrival.source, "previous": origin_view(arrival.origin)}


def origin_view(origin: Origin) -> Any:
    """What `previous` stands for: a path, of a join the paths by source node, or null."""
    if origin.sources is not None:
        return {node: [origin_view(one) for one in several] for node, several in origin.sources.items()}
    return origin.path


def wait_view(wait: Wait) -> View:
    """One thing that a suspended task waits for."""
    return {
        "step": wait.step,
        "kind": wait.kind,
        "at": rfc3339(wait.due_us) if wait.due_us is not None else None,
        "name": wait.name,
        "run": wait.run,
        "workflow": wait.workflow,
    }


# --- the engine's surroundings ------------------------------------------------------------------------------------


def queue_row_view(row: QueueRow, *, now_us: int) -> View:
    """A queue row, for `explain`."""
    return {
        "path": row.path,
        "kind": row.kind.value,
        "queue": row.queue,
        "queued_at": rfc3339(row.queued_us),
        "due_at": rfc3339(row.due_us),
        "due": row.due_us <= now_us,
        "worker": row.worker,
        "leased_at": rfc3339(row.leased_us) if row.leased_us is not None else None,
        "held": row.held,
        "lost_workers": row.lost,
        "note": row.note or None,
    }


def labelled(own: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """The labels of a run: the workflow's, and over them those that it was started with."""
    return {**own, **given}
