"""What became of each task of a run: the journal folded for observers.

The kernel's state forgets closed tasks. Here every task stays, with its attempts, steps and decision; values don't:
they are named by the event that holds them (`Ref`), so that a long run stays small in memory. Of a fork the parent's
prefix is folded first, and the parent's results are marked `from_parent`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from orchestrator.engine.views.explain import NO_HOLD, Hold
from orchestrator.engine.views.payloads import payload_bytes
from orchestrator.engine.views.tasktable import Attempt, Ref, Step, TaskRecord, TaskTable
from orchestrator.kernel import events as e
from orchestrator.kernel.apply import variable_key
from orchestrator.kernel.status import TaskStatus
from orchestrator.kernel.values import ErrorInfo, Origin, Parent, Plan, Reads, Wait


class LaidPlan(NamedTuple):
    """A plan that a task of the run laid."""

    plan: Plan
    at: str
    seq: int
    reason: str | None


@dataclass(slots=True, kw_only=True)
class TaskLog:
    """The fold of one run's journal up to `seq`.

    `forks` counts the forks that lead to this run. `variables` names the event that holds each value of a variable, by
    the kernel's key. `hold` is who paused or cancelled the run last, and why. `laid` and `plans` are the plans of the
    run, by the paths of the tasks that laid them.
    """

    run_id: str
    seq: int = 0
    forks: int = 0
    workflow: str = ""
    version: int = 0
    created_at: str = ""
    labels: dict[str, str] = field(default_factory=dict[str, str])
    input: Ref | None = None
    parent: Parent | None = None
    tasks: TaskTable = field(default_factory=TaskTable)
    variables: dict[str, Ref] = field(default_factory=dict[str, Ref])
    hold: Hold = NO_HOLD
    laid: dict[str, LaidPlan] = field(default_factory=dict[str, LaidPlan])
    plans: dict[str, Plan] = field(default_factory=dict[str, Plan])

    def extend(self, lines: Iterable[bytes]) -> None:
        """Fold the events that follow on `seq`."""
        for line in lines:
            event = e.decode(line)
            if event.seq != self.seq + 1:
                raise ValueError(f"event {event.seq} of run {self.run_id} doesn't follow on {self.seq}")
            self.seq = event.seq
            fold = _FOLD.get(type(event))
            if fold is not None:
                fold(self, event)
                self.tasks.settle()

    def fork(self, run_id: str) -> "TaskLog":
        """The log that a fork of this run begins with: the same tasks, those that are over marked as the parent's."""
        return TaskLog(
            run_id=run_id,
            forks=self.forks + 1,
            tasks=self.tasks.fork(),
            variables=dict(self.variables),
            input=self.input,
            laid=dict(self.laid),
            plans=dict(self.plans),
        )

    def ref(self, event: e.Event) -> Ref:
        """The place of an event of this run."""
        return Ref(self.run_id, event.seq)


def origin_paths(origin: Origin) -> list[str]:
    """The paths of the tasks that an origin stands for, each once."""
    if origin.sources is not None:
        found = (path for several in origin.sources.values() for one in several for path in origin_paths(one))
        return list(dict.fromkeys(found))
    return [] if origin.path is None else [origin.path]


# --- the run ------------------------------------------------------------------------------------------------------


def _run_started(log: TaskLog, event: e.RunStarted) -> None:
    log.workflow, log.version, log.created_at = event.workflow, event.version, event.at
    log.labels, log.parent = event.labels, event.parent
    if event.input is not None:
        log.input = log.ref(event)
    keys = _set_variables(log, event, event.variables)
    _return(log, event)
    _reopen(log, event.reopened)
    for path in event.reopened:
        record = log.tasks.edit(path)
        record.steps = {k: step for k, step in record.steps.items() if step.status != "started"}
        if keys.keys() & record.reads.variables.keys():
            patched = {name: keys.get(name, key) for name, key in record.reads.variables.items()}
            record.reads = Reads(nodes=record.reads.nodes, variables=patched)


def _run_retried(log: TaskLog, event: e.RunRetried) -> None:
    _return(log, event)
    _reopen(log, event.reopened)


def _return(log: TaskLog, event: e.RunStarted | e.RunRetried) -> None:
    """Joins that had failed for want of arrivals, which wait again."""
    for path in event.returned:
        record = log.tasks.edit(path)
        record.status, record.finished_at, record.reason = TaskStatus.CANCELLED, event.at, "waits again"


def _reopen(log: TaskLog, paths: Iterable[str]) -> None:
    for path in paths:
        record = log.tasks.edit(path)
        if record.over:
            record.attempt += 1
        if record.status is TaskStatus.FAILED:
            _forget_last_failures(record)
        record.status, record.from_parent = TaskStatus.READY, False
        if record.block:
            record.status = TaskStatus.WAITING
        record.error, record.doubt, record.reason = None, "", ""
        record.finished_at, record.not_before_us = "", 0
        record.waits = dict(_FOR_ITS_PLAN) if record.block else {}
        record.steps = {k: step for k, step in record.steps.items() if step.status != "waiting"}


def _forget_last_failures(record: TaskRecord) -> None:
    """As the kernel does: what the task failed of is done anew."""
    for key, step in reversed(list(record.steps.items())):
        if step.status != "failed":
            return
        del record.steps[key]


def _variables_set(log: TaskLog, event: e.VariablesSet) -> None:
    _set_variables(log, event, event.values)


def _set_variables(log: TaskLog, event: e.Event, names: Iterable[str]) -> dict[str, str]:
    keys = {name: variable_key(name, event.seq, forks=log.forks) for name in names}
    for key in keys.values():
        log.variables[key] = log.ref(event)
    return keys


def _run_patched(log: TaskLog, event: e.RunPatched) -> None:
    for path, output in event.outputs.items():
        record = log.tasks.edit(path)
        record.output, record.output_bytes = Ref(log.run_id, event.seq, path), payload_bytes(output)
        record.from_parent = False


def _run_paused(log: TaskLog, event: e.RunPaused) -> None:
    log.hold = Hold(event.by, event.reason or "")


def _cancel_requested(log: TaskLog, event: e.CancelRequested) -> None:
    log.hold = Hold(event.by, event.reason or "")


# --- tasks --------------------------------------------------------------------------------------------------------


def _task_scheduled(log: TaskLog, event: e.TaskScheduled) -> None:
    log.tasks.add(
        TaskRecord(
            path=event.path,
            node=event.node,
            visit=event.visit,
            scheduled_at=event.at,
            previous=event.previous,
            reads=event.reads,
            compensates=event.compensates,
            item=event.item,
        )
    )
    if event.compensates is not None and event.compensates in log.tasks:
        log.tasks.edit(event.compensates).compensated_by = event.path


def _items_started(log: TaskLog, event: e.ItemsStarted) -> None:
    record = log.tasks.edit(event.path)
    _begin(record, event.timing.started_at)
    record.status, record.not_before_us = TaskStatus.WAITING, 0
    log.tasks.begin_items(event.path, event.count)


_FOR_ITS_PLAN = {"plan": Wait(step="plan", kind="plan")}


def _graph_extended(log: TaskLog, event: e.GraphExtended) -> None:
    record = log.tasks.edit(event.path)
    attempt = _current(record, event.attempt)
    attempt.worker, attempt.queued_at = event.timing.worker, event.timing.queued_at
    attempt.started_at, attempt.finished_at = event.timing.started_at, event.at
    _begin(record, event.timing.started_at)
    record.status, record.not_before_us, record.block = TaskStatus.WAITING, 0, True
    record.waits = dict(_FOR_ITS_PLAN)
    log.laid[event.path] = LaidPlan(event.plan, event.at, event.seq, event.reason)
    log.plans[event.path] = event.plan


def _plan_finished(log: TaskLog, event: e.PlanFinished) -> None:
    record = log.tasks.edit(event.path)
    record.status, record.waits, record.block = TaskStatus.READY, {}, False


def _current(record: TaskRecord, number: int) -> Attempt:
    """The attempt of this number, begun if it isn't there."""
    if not record.attempts or record.attempts[-1].attempt != number:
        record.attempts.append(Attempt(attempt=number))
    return record.attempts[-1]


def _begin(record: TaskRecord, at: str) -> None:
    if at and not record.started_at:
        record.started_at = at


def _task_started(log: TaskLog, event: e.TaskStarted) -> None:
    record = log.tasks.edit(event.path)
    attempt = _current(record, event.attempt)
    attempt.started_at, attempt.worker = event.at, event.worker
    _begin(record, event.at)


def _step_started(log: TaskLog, event: e.StepStarted) -> None:
    record = log.tasks.edit(event.path)
    _begin(record, event.at)
    record.steps[event.step] = Step(
        step=event.step, name=event.name, status="started", effect="irreversible", started_at=event.at
    )


def _step_recorded(log: TaskLog, event: e.StepRecorded) -> None:
    record = log.tasks.edit(event.path)
    before = record.steps.pop(event.step, None)
    record.waits.pop(event.step, None)
    started_at = event.started_at or (before.started_at if before is not None else "")
    _begin(record, started_at)
    record.steps[event.step] = Step(
        step=event.step,
        name=event.name,
        status="completed" if event.error is None else "failed",
        effect=event.effect,
        started_at=started_at,
        finished_at=event.at,
        error=event.error,
        value=log.ref(event) if event.result is not None else None,
    )


def _decision_made(log: TaskLog, event: e.DecisionMade) -> None:
    log.tasks.edit(event.path).decision = event


def _end_attempt(
    record: TaskRecord, event: e.TaskCompleted | e.TaskFailed, *, error: ErrorInfo | None
) -> None:
    timing = event.timing
    attempt = _current(record, event.attempt)
    attempt.worker = timing.worker or attempt.worker
    attempt.queued_at = timing.queued_at or attempt.queued_at
    attempt.started_at = timing.started_at or attempt.started_at
    attempt.finished_at = event.at
    attempt.error = error
    _begin(record, attempt.started_at)


def _task_completed(log: TaskLog, event: e.TaskCompleted) -> None:
    record = log.tasks.edit(event.path)
    _end_attempt(record, event, error=None)
    record.status, record.finished_at, record.error = TaskStatus.COMPLETED, event.at, None
    record.output, record.output_bytes = log.ref(event), payload_bytes(event.output)
    record.cached = event.cached


def _task_failed(log: TaskLog, event: e.TaskFailed) -> None:
    record = log.tasks.edit(event.path)
    _end_attempt(record, event, error=event.error)
    record.error = event.error
    if event.retry_us is not None:
        record.attempt, record.not_before_us = event.attempt + 1, event.retry_us
        return
    record.status, record.finished_at = TaskStatus.FAILED, event.at
    if event.arrivals or event.compensate is not None:
        record.output = log.ref(event)


def _task_skipped(log: TaskLog, event: e.TaskSkipped) -> None:
    record = log.tasks.edit(event.path)
    record.status, record.finished_at, record.reason = TaskStatus.SKIPPED, event.at, event.reason or ""


def _task_cancelled(log: TaskLog, event: e.TaskCancelled) -> None:
    record = log.tasks.edit(event.path)
    record.status, record.finished_at, record.reason = TaskStatus.CANCELLED, event.at, event.reason
    if event.compensate is not None:
        record.output = log.ref(event)


def _task_suspended(log: TaskLog, event: e.TaskSuspended) -> None:
    record = log.tasks.edit(event.path)
    record.status = TaskStatus.READY if event.ready else TaskStatus.WAITING
    record.not_before_us = 0
    record.waits = {wait.step: wait for wait in event.waits}
    for wait in event.waits:
        known = record.steps.get(wait.step)
        if known is None:
            name = wait.name or wait.workflow or wait.kind
            record.steps[wait.step] = Step(step=wait.step, name=name, status="waiting", started_at=event.at)


def _task_resumed(log: TaskLog, event: e.TaskResumed) -> None:
    record = log.tasks.edit(event.path)
    record.status = TaskStatus.READY
    record.waits.pop(event.step, None)
    step = record.steps.setdefault(event.step, Step(step=event.step, name=event.by, status="waiting"))
    step.status = "completed" if event.error is None else "failed"
    step.finished_at, step.error = event.at, event.error
    step.value = log.ref(event) if event.result is not None else None


def _task_in_doubt(log: TaskLog, event: e.TaskInDoubt) -> None:
    record = log.tasks.edit(event.path)
    record.status, record.doubt = TaskStatus.IN_DOUBT, event.reason
    if event.late is not None:
        record.late = log.ref(event)


def _late_result_noted(log: TaskLog, event: e.LateResultNoted) -> None:
    log.tasks.edit(event.path).late = log.ref(event)


def _task_resolved(log: TaskLog, event: e.TaskResolved) -> None:
    record = log.tasks.edit(event.path)
    record.doubt, record.late = "", None
    open_step = next((s for s in record.steps.values() if s.status == "started"), None)
    if event.action == "retry" or (event.action == "done" and open_step is not None):
        record.status = TaskStatus.READY
        record.attempt += 1
    if event.retry_us is not None:
        record.not_before_us = event.retry_us
    if event.action == "retry" and open_step is not None:
        del record.steps[open_step.step]


_FOLD: dict[type[e.Event], Callable[[TaskLog, Any], None]] = {
    e.RunStarted: _run_started,
    e.RunRetried: _run_retried,
    e.VariablesSet: _variables_set,
    e.RunPatched: _run_patched,
    e.RunPaused: _run_paused,
    e.CancelRequested: _cancel_requested,
    e.TaskScheduled: _task_scheduled,
    e.ItemsStarted: _items_started,
    e.GraphExtended: _graph_extended,
    e.PlanFinished: _plan_finished,
    e.TaskStarted: _task_started,
    e.StepStarted: _step_started,
    e.StepRecorded: _step_recorded,
    e.DecisionMade: _decision_made,
    e.TaskCompleted: _task_completed,
    e.TaskFailed: _task_failed,
    e.TaskSkipped: _task_skipped,
    e.TaskCancelled: _task_cancelled,
    e.TaskSuspended: _task_suspended,
    e.TaskResumed: _task_resumed,
    e.TaskInDoubt: _task_in_doubt,
    e.LateResultNoted: _late_result_noted,
    e.TaskResolved: _task_resolved,
}
