"""`apply(state, event)`: what each event does to the state. No choices are made here, only recorded ones followed."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import msgspec

from orchestrator.errors import InternalError
from orchestrator.kernel.blocks import begin_block, count_open, forget_block, forget_plans
from orchestrator.kernel.events import (
    ArrivalSwallowed,
    BudgetExceeded,
    BudgetRaised,
    BudgetReserved,
    BudgetSettled,
    CancelRequested,
    CompensationStarted,
    DataErased,
    DecisionMade,
    Event,
    GraphExtended,
    ItemsStarted,
    JoinHeldBack,
    LateResultNoted,
    PlanFinished,
    RunCancelled,
    RunContinued,
    RunFailed,
    RunPatched,
    RunPaused,
    RunResumed,
    RunRetried,
    RunStarted,
    RunStopping,
    RunSucceeded,
    SignalReceived,
    StepRecorded,
    StepStarted,
    TaskCancelled,
    TaskCompleted,
    TaskFailed,
    TaskInDoubt,
    TaskResolved,
    TaskResumed,
    TaskScheduled,
    TaskSkipped,
    TaskStarted,
    TaskSuspended,
    VariablesSet,
)
from orchestrator.kernel.state import (
    Arrival,
    Compensation,
    Ending,
    Erased,
    Items,
    OpenStep,
    RunState,
    Signal,
    Spent,
    StepState,
    TaskState,
    Undo,
    container_path,
    item_path,
    origin_keys,
    read_keys,
)
from orchestrator.kernel.status import RunStatus, TaskStatus, check_run_move, check_task_move
from orchestrator.kernel.values import (
    NO_ORIGIN,
    NO_READS,
    NULL,
    ErrorInfo,
    Handover,
    Origin,
    Payload,
    Reads,
    Usage,
    microseconds,
)
from orchestrator.model.grafts import SEPARATOR

T = TypeVar("T")

_ACTIVE = (RunStatus.QUEUED, RunStatus.RUNNING)


def apply(state: RunState, event: Event) -> None:
    """Advance the state by the next event of its journal.

    Raises:
        InternalError: the event doesn't follow on the state (a gap, an unknown task, an illegal move).
    """
    if event.seq != state.seq + 1:
        raise InternalError(f"event {event.seq} of run {state.run_id} doesn't follow on {state.seq}")
    _APPLY[type(event)](state, event)
    state.seq = event.seq
    status = _status_of(state)
    if status is not state.status:
        _move_run(state, status, event.at)


def fold(state: RunState, events: Iterable[Event]) -> RunState:
    """Advance the state by several events; gives the same state back."""
    for event in events:
        apply(state, event)
    return state


def error_payload(error: ErrorInfo) -> Payload:
    """What `previous` is to the node that handles the error: `{"error": {...}}`."""
    return Payload(value=msgspec.Raw(msgspec.json.encode({"error": error})))


def unknown_payload(error: ErrorInfo) -> Payload:
    """What `previous` is to the compensation of a visit that nobody knows the outcome of."""
    text = {"output": None, "unknown": True, "error": error}
    return Payload(value=msgspec.Raw(msgspec.json.encode(text)))


def withdrawn_payload(event: TaskCancelled) -> Payload:
    """`unknown_payload` of a task that was withdrawn."""
    error = ErrorInfo(type="cancelled", message=event.reason, path=event.path, node=event.node)
    return unknown_payload(error)


# --- status -------------------------------------------------------------------------------------------------------


def _status_of(state: RunState) -> RunStatus:
    if state.finished_at and not state.status.live:
        return state.status
    if state.ending is not None:
        return RunStatus.CANCELLING if state.ending.cause == "cancel" else RunStatus.RUNNING
    if state.paused or state.spent_out:
        return RunStatus.PAUSED
    if not state.begun:
        return RunStatus.QUEUED
    if state.tasks and state.ready == 0:
        return RunStatus.WAITING
    return RunStatus.RUNNING


def _move_run(state: RunState, status: RunStatus, at: str) -> None:
    check_run_move(state.status, status)
    was_active, is_active = state.active_since_us is not None, status in _ACTIVE
    if was_active is not is_active:
        now_us = microseconds(at)
        if state.active_since_us is not None:
            state.active_us += max(0, now_us - state.active_since_us)
        state.active_since_us = now_us if is_active else None
    state.status = status


def _end_run(state: RunState, status: RunStatus, at: str) -> None:
    state.ending = None
    _move_run(state, status, at)
    state.finished_at = at


def _move_task(state: RunState, task: TaskState, status: TaskStatus) -> None:
    check_task_move(task.status, status)
    state.ready += (status is TaskStatus.READY) - (task.status is TaskStatus.READY)
    task.status = status


def _open_task(state: RunState, path: str) -> TaskState:
    try:
        return state.tasks[path]
    except KeyError:
        raise InternalError(f"run {state.run_id} has no open task {path!r}") from None


def _begin(state: RunState, at: str) -> None:
    state.begun = True
    state.started_at = at


def _without(table: dict[str, T], key: str) -> dict[str, T]:
    """The table without the key.

    A dict passes every deleted place on the way to its first entry: after a fan of 10,000 tasks that is what a look
    at the first of them would cost. Made anew now and then, it stays cheap.
    """
    del table[key]
    return table if len(table) % 1_024 else dict(table)


def _close(state: RunState, task: TaskState, status: TaskStatus, *, set_aside: bool = False) -> None:
    _move_task(state, task, status)
    state.tasks = _without(state.tasks, task.path)
    if SEPARATOR in task.node:
        count_open(state, task, -1)
    left = state.live[task.node] - 1
    if left:
        state.live[task.node] = left
    else:
        state.live = _without(state.live, task.node)
    if task.late:
        state.count_late(task.late, -1)
    if set_aside:
        state.set_aside[task.path] = task
        return
    state.let_all_go(read_keys(task))
    if task.block is not None:
        forget_block(state, task.path)


def _reopen(state: RunState, path: str) -> None:
    """Make a task ready anew: one that failed or was stopped, or (in a fork) one that was open at the cut."""
    task = state.set_aside.pop(path, None)
    if task is None:
        task = _open_task(state, path)
    else:
        check_task_move(task.status, TaskStatus.WAITING if task.holds else TaskStatus.READY)
        if task.status is TaskStatus.FAILED:
            state.counts.failed -= 1
            _forget_last_failures(task)
        else:
            state.counts.cancelled -= 1
        state.tasks[path] = task
        state.live[task.node] = state.live.get(task.node, 0) + 1
        state.count_late(task.late, 1)
        if SEPARATOR in task.node:
            count_open(state, task, 1)
        task.attempt += 1
    if not task.holds:
        state.ready += task.status is not TaskStatus.READY
        task.status = TaskStatus.READY
    else:
        task.status = TaskStatus.WAITING
    task.tries = task.deferrals = task.not_before_us = 0
    task.generation += 1
    task.doubt = task.late_result = task.error = None
    task.waits = {step: wait for step, wait in task.waits.items() if wait.kind != "child"}


def _forget_last_failures(task: TaskState) -> None:
    """Steps that failed, and after which nothing else was recorded, are what the task failed of: they are done anew.

    Earlier failures stay: the code has gone its way because of them.
    """
    for step, recorded in reversed(list(task.steps.items())):
        if recorded.error is None:
            return
        del task.steps[step]


def note_undo(state: RunState, path: str, node: str | None) -> None:
    """The value of `path` is what `node` will need to take that visit (or item) back; None: nothing takes it back."""
    if node is not None:
        state.hold(path)
        state.undo.append(Undo(path=path, node=node))


def _forget_undo(state: RunState) -> None:
    for undo in state.undo:
        state.let_go(undo.path)
    state.undo = []


def _arrive(state: RunState, nodes: list[str], task: TaskState, origin: Origin) -> None:
    for node in nodes:
        state.arrivals.setdefault(node, []).append(
            Arrival(source=task.node, origin=origin, late=list(task.late))
        )
        if task.late:
            state.count_late(task.late, 1)
        for key in origin_keys(origin):
            state.hold(key)


def _set_latest(state: RunState, table: dict[str, str], name: str, key: str) -> None:
    state.hold(key)
    old = table.get(name)
    table[name] = key
    if old is not None:
        state.let_go(old)


# --- the run ------------------------------------------------------------------------------------------------------


def _run_started(state: RunState, event: RunStarted) -> None:
    if event.forked_from is not None:
        _continue_as_fork(state, event)
    state.run_id, state.namespace = event.run_id, event.namespace
    state.workflow, state.version = event.workflow, event.version
    state.rules, state.format = event.rules, event.format
    state.request, state.parent, state.depth = event.request, event.parent, event.depth
    state.labels, state.imported = event.labels, event.imported
    state.priority = event.priority
    if event.input is not None:
        state.input = event.input
    state.created_at = event.at
    state.active_us, state.active_since_us = 0, microseconds(event.at)
    if event.continues is not None:
        state.continues = event.continues
        state.carried_tasks, state.active_us = event.continues.tasks, event.continues.active_us
        state.spent.add(event.continues.usage)
        state.limits = dict(event.continues.limits)
    _set_variables(state, event.variables, event.seq)
    for path in event.reopened:
        _read_patched(state, state.tasks[path], event.variables)


def _continue_as_fork(state: RunState, event: RunStarted) -> None:
    state.forked_from = event.forked_from
    state.status, state.begun, state.paused = RunStatus.QUEUED, False, False
    state.spent_out, state.reserved = [], Spent()
    state.ending = state.output = state.error = None
    state.started_at = state.finished_at = ""
    state.signal_keys = {}
    _forget_undo(state)
    state.held_back = []
    forget_plans(state)
    state.continues = state.handover = None
    state.forks += 1
    assert event.forked_from is not None
    for signal in state.signals:  # keeps them apart from the fork's own, whose numbers begin anew
        signal.seq -= event.forked_from.seq
    for path in event.returned:
        _return(state, path)
    for path in event.reopened:
        _reopen(state, path)
        task = state.tasks[path]
        task.started, task.open_steps, task.reserved = False, {}, {}
        task.waits = {
            step: msgspec.structs.replace(wait, after=wait.after - event.forked_from.seq)
            if wait.fresh
            else wait
            for step, wait in task.waits.items()
        }


def _read_patched(state: RunState, task: TaskState, patch: dict[str, Payload]) -> None:
    """A task that a fork schedules anew reads the variables that the fork has set."""
    old = task.reads.variables
    changed = {name: state.variables[name] for name in old if name in patch}
    if changed:
        task.reads = Reads(nodes=task.reads.nodes, variables={**old, **changed})
        for name, key in changed.items():
            state.hold(key)
            state.let_go(old[name])


def _variables_set(state: RunState, event: VariablesSet) -> None:
    _set_variables(state, event.values, event.seq)


def _set_variables(state: RunState, values: dict[str, Payload], seq: int) -> None:
    for name, payload in values.items():
        key = variable_key(name, seq, forks=state.forks)
        state.keep(key, payload)
        _set_latest(state, state.variables, name, key)


def variable_key(name: str, seq: int, *, forks: int = 0) -> str:
    """The key of the value that event `seq` gave to a variable: `$` can't begin a node's id, so it is never a path.

    In a fork numbers begin anew, so its keys name how many forks lie before it: the parent's values stay as they are.
    """
    return f"${name}@{seq}~{forks}" if forks else f"${name}@{seq}"


def _run_patched(state: RunState, event: RunPatched) -> None:
    """Whoever reads one of these values from now on reads the new one; its readers stay as they are."""
    for path, payload in event.outputs.items():
        if path not in state.values:
            raise InternalError(f"run {state.run_id} holds no output of `{path}` to be patched")
        state.keep(path, payload)


def _signal_received(state: RunState, event: SignalReceived) -> None:
    state.signal_keys[event.key] = event.seq
    state.signals.append(Signal(seq=event.seq, name=event.name, payload=event.payload))


def _run_paused(state: RunState, event: RunPaused) -> None:
    state.paused = True


def _run_resumed(state: RunState, event: RunResumed) -> None:
    state.paused = False


def _budget_exceeded(state: RunState, event: BudgetExceeded) -> None:
    """Says why the run pauses, or why `run_stopping` follows."""
    if event.action == "pause":
        state.spent_out.append(event.budget)


def _budget_raised(state: RunState, event: BudgetRaised) -> None:
    state.limits[event.budget] = event.limit
    state.spent_out = [budget for budget in state.spent_out if budget != event.budget]


def _budget_reserved(state: RunState, event: BudgetReserved) -> None:
    if not state.begun:
        _begin(state, event.at)
    usage = Usage(tokens=event.tokens, cost_usd=event.cost_usd)
    _open_task(state, event.path).reserved[event.step] = usage
    state.reserved.add(usage)


def _budget_settled(state: RunState, event: BudgetSettled) -> None:
    task, usage = _open_task(state, event.path), Usage(tokens=event.tokens, cost_usd=event.cost_usd)
    reserved = task.reserved.pop(event.step, None)
    if reserved is not None:
        state.reserved.take(reserved)
    task.used.add(usage)
    state.spent.add(usage)


def _cancel_requested(state: RunState, event: CancelRequested) -> None:
    state.paused, state.spent_out = False, []
    state.ending = Ending(cause="cancel", grace_until_us=event.grace_until_us, reason=event.reason)


def _run_stopping(state: RunState, event: RunStopping) -> None:
    state.paused, state.spent_out = False, []
    state.ending = Ending(
        cause=event.cause,
        grace_until_us=event.grace_until_us,
        error=event.error,
        output=event.output,
        handover=event.handover,
    )


def _run_continued(state: RunState, event: RunContinued) -> None:
    state.handover = Handover(
        run=event.run,
        input=event.input,
        latest=event.latest,
        tasks=event.tasks,
        active_us=event.active_us,
    )
    state.ending = Ending(cause="continue", grace_until_us=microseconds(event.at), handover=state.handover)
    for task in state.set_aside.values():
        for key in read_keys(task):
            state.let_go(key)
    state.set_aside = {}
    for arrivals in state.arrivals.values():
        state.take(arrivals)
    state.arrivals, state.held_back = {}, []
    _forget_undo(state)
    forget_plans(state)


def _compensation_started(state: RunState, event: CompensationStarted) -> None:
    state.compensation = Compensation(began_seq=event.seq, total=event.count)


def _data_erased(state: RunState, event: DataErased) -> None:
    state.erased = Erased(event.at, event.by)


def _run_retried(state: RunState, event: RunRetried) -> None:
    state.paused, state.spent_out = False, []
    state.error = None
    state.finished_at = ""
    state.held_back = []
    for path in event.returned:
        _return(state, path)
    for path in event.reopened:
        _reopen(state, path)


def _return(state: RunState, path: str) -> None:
    """A join failed for want of arrivals: its task counts as withdrawn, and what it had taken waits again."""
    task = state.set_aside.pop(path)
    state.counts.failed -= 1
    state.counts.cancelled += 1
    waiting = [
        Arrival(source=source, origin=origin if origin != NO_ORIGIN else NO_ORIGIN, late=list(task.late))
        for source, several in (task.previous.sources or {}).items()
        for origin in several
    ]
    for arrival in waiting:
        state.count_late(arrival.late, 1)
        for key in origin_keys(arrival.origin):
            state.hold(key)
    state.arrivals[task.node] = waiting + state.arrivals.get(task.node, [])
    for key in read_keys(task):
        state.let_go(key)


def _arrival_swallowed(state: RunState, event: ArrivalSwallowed) -> None:
    waiting = state.arrivals[event.node]
    state.take([waiting.pop(event.place)])
    if not waiting:
        del state.arrivals[event.node]
        if event.node in state.held_back:
            state.held_back.remove(event.node)


def _join_held_back(state: RunState, event: JoinHeldBack) -> None:
    state.held_back.append(event.node)


def _run_succeeded(state: RunState, event: RunSucceeded) -> None:
    state.output = event.output
    _forget_undo(state)
    _end_run(state, RunStatus.SUCCEEDED, event.at)


def _run_failed(state: RunState, event: RunFailed) -> None:
    state.error = event.error
    _end_run(state, RunStatus.FAILED, event.at)


def _run_cancelled(state: RunState, event: RunCancelled) -> None:
    _end_run(state, RunStatus.CANCELLED, event.at)


# --- tasks --------------------------------------------------------------------------------------------------------


def _task_scheduled(state: RunState, event: TaskScheduled) -> None:
    if event.item is not None:
        _item_scheduled(state, event, event.item)
        return
    waiting = state.arrivals.get(event.node) if event.compensates is None else None
    taken: list[Arrival] = []
    if waiting:
        count = event.takes or (len(waiting) if event.join else 1)
        places = event.taken or range(min(count, len(waiting)))
        taken = [waiting[place] for place in places]
        if len(taken) == len(waiting):
            state.arrivals = _without(state.arrivals, event.node)
        else:
            for place in reversed(places):
                del waiting[place]
    task = TaskState(
        path=event.path,
        node=event.node,
        visit=event.visit,
        previous=event.previous,
        reads=event.reads,
        scheduled_at=event.at,
        compensates=event.compensates,
        late=list(event.late),
    )
    for key in read_keys(task):
        state.hold(key)
    if event.compensates is not None:
        state.let_go(state.undo.pop().path)
    state.take(taken)
    if task.late:
        state.count_late(task.late, 1)
    if event.outran or event.outran_at:
        _outrun(state, event)
    state.tasks[event.path] = task
    if SEPARATOR in task.node:
        count_open(state, task, 1)
    state.ready += 1
    state.live[event.node] = state.live.get(event.node, 0) + 1
    state.visits[event.node] = event.visit
    state.counts.total += 1


def _outrun(state: RunState, event: TaskScheduled) -> None:
    """What was on its way to a join when it ran is late for it."""
    behind: list[list[str]] = [state.tasks[path].late for path in event.outran]
    behind += [arrival.late for node in event.outran_at for arrival in state.arrivals[node]]
    for late in behind:
        if event.node not in late:  # of the arrivals at one join some may be late already
            late.append(event.node)
            state.count_late((event.node,), 1)


def _item_scheduled(state: RunState, event: TaskScheduled, place: int) -> None:
    task = TaskState(
        path=event.path,
        node=event.node,
        visit=event.visit,
        scheduled_at=event.at,
        late=list(event.late),
        item=place,
    )
    state.count_late(task.late, 1)
    items = _items_of(state, task)
    items.open[place] = None
    items.next = max(items.next, place + 1)
    state.tasks[event.path] = task
    if SEPARATOR in task.node:
        count_open(state, task, 1)
    state.ready += 1
    state.live[event.node] = state.live.get(event.node, 0) + 1
    state.counts.total += 1


def _items_of(state: RunState, item: TaskState) -> Items:
    items = state.container(item).items
    if items is None:
        raise InternalError(f"run {state.run_id}: {item.path!r} is an item of a task that has none")
    return items


def _items_started(state: RunState, event: ItemsStarted) -> None:
    if not state.begun:
        _begin(state, event.timing.started_at or event.at)
    task = _open_task(state, event.path)
    task.items = Items(count=event.count, chunks=event.chunks, after=event.seq, forks=state.forks)
    task.not_before_us = 0
    _move_task(state, task, TaskStatus.WAITING)


def _item_done(state: RunState, task: TaskState, place: int, output: Payload, status: TaskStatus) -> None:
    """Its output stands in the journal and nowhere else: the state only counts."""
    items = _items_of(state, task)
    del items.open[place]
    items.bytes += output.size
    if status is TaskStatus.COMPLETED:
        items.completed += 1
    elif status is TaskStatus.SKIPPED:
        items.skipped += 1
    else:
        items.failed += 1
    _close(state, task, status)


def _item_withdrawn(state: RunState, task: TaskState, place: int) -> None:
    """For good: it has no place in the list. The task that has the items may be gone already."""
    path = container_path(task.path)
    container = state.tasks.get(path) or state.set_aside.get(path)
    if container is not None and container.items is not None:
        del container.items.open[place]
        container.items.withdrawn += 1


def _forget_items(state: RunState, task: TaskState) -> None:
    """The node is done: what was withdrawn of its items is not taken up again."""
    if task.items is not None:
        for place in task.items.open:
            state.set_aside.pop(item_path(task.path, place), None)


def _task_started(state: RunState, event: TaskStarted) -> None:
    if not state.begun:
        _begin(state, event.at)
    _open_task(state, event.path).started = True


def _step_started(state: RunState, event: StepStarted) -> None:
    if not state.begun:
        _begin(state, event.at)
    _open_task(state, event.path).open_steps[event.step] = OpenStep(step=event.step, name=event.name)


def _step_recorded(state: RunState, event: StepRecorded) -> None:
    if not state.begun:
        _begin(state, event.at)
    task = _open_task(state, event.path)
    task.open_steps.pop(event.step, None)
    task.waits.pop(event.step, None)
    task.steps[event.step] = StepState(
        name=event.name, args_sha256=event.args_sha256, result=event.result, error=event.error
    )


def _decision_made(state: RunState, event: DecisionMade) -> None:
    """A decision is read from the journal; its consequence stands in the completion that follows."""


def _task_completed(state: RunState, event: TaskCompleted) -> None:
    if not state.begun:
        _begin(state, event.timing.started_at or event.at)
    task = _open_task(state, event.path)
    if task.item is not None:
        if event.compensate is not None:
            state.keep(event.path, event.output)
            note_undo(state, event.path, event.compensate)
        state.counts.completed += 1
        _item_done(state, task, task.item, event.output, TaskStatus.COMPLETED)
        return
    path, node = event.path, event.node
    state.keep(path, event.output)
    _set_latest(state, state.latest, node, path)
    if event.arrivals:
        _arrive(state, event.arrivals, task, Origin(path=path))
    elif task.compensates is None:
        _set_latest(state, state.sinks, node, path)
    if event.compensate is not None:
        note_undo(state, path, event.compensate)
    state.counts.completed += 1
    if task.compensates is not None:
        _count_compensation(state, task, failed=False)
    if task.items is not None:
        _forget_items(state, task)
    _close(state, task, TaskStatus.COMPLETED)


def _graph_extended(state: RunState, event: GraphExtended) -> None:
    if not state.begun:
        _begin(state, event.timing.started_at or event.at)
    task = _open_task(state, event.path)
    begin_block(state, task, event.plan)
    for key in origin_keys(task.previous):
        state.hold(key)
    _move_task(state, task, TaskStatus.WAITING)


def _plan_finished(state: RunState, event: PlanFinished) -> None:
    task = _open_task(state, event.path)
    old = read_keys(task)
    task.reads = event.reads if event.reads.nodes or event.reads.variables else NO_READS
    for key in read_keys(task):
        state.hold(key)
    for key in old:
        state.let_go(key)
    assert task.block is not None
    task.block.done = True
    _move_task(state, task, TaskStatus.READY)


def _task_skipped(state: RunState, event: TaskSkipped) -> None:
    if not state.begun:
        _begin(state, event.at)
    task = _open_task(state, event.path)
    if task.item is not None:
        state.counts.skipped += 1
        _item_done(state, task, task.item, NULL, TaskStatus.SKIPPED)
        return
    path, node = event.path, event.node
    state.keep(path, NULL)
    _set_latest(state, state.latest, node, path)
    if event.arrivals:
        _arrive(state, event.arrivals, task, task.previous)
    elif task.compensates is None:
        _set_latest(state, state.sinks, node, path)
    state.counts.skipped += 1
    _count_compensation(state, task, failed=False)
    _close(state, task, TaskStatus.SKIPPED)


def _task_failed(state: RunState, event: TaskFailed) -> None:
    if not state.begun:
        _begin(state, event.timing.started_at or event.at)
    task = _open_task(state, event.path)
    task.error = event.error
    task.started, task.open_steps, task.late_result = False, {}, None
    if event.deferred:
        task.deferrals += 1
    else:
        task.tries += 1
    if event.retry_us is not None:
        check_task_move(task.status, TaskStatus.READY)
        task.attempt += 1
        task.not_before_us = event.retry_us
        return
    state.counts.failed += 1
    if event.compensate is not None:
        state.keep(event.path, unknown_payload(event.error))
        note_undo(state, event.path, event.compensate)
    if event.collected and task.item is not None:
        _item_done(state, task, task.item, error_payload(event.error), TaskStatus.FAILED)
        return
    if event.arrivals:
        _forget_items(state, task)
    if event.arrivals and event.compensate is None:
        state.keep(event.path, error_payload(event.error))
    if event.arrivals:
        _arrive(state, event.arrivals, task, Origin(path=event.path))
    _count_compensation(state, task, failed=True)
    _close(state, task, TaskStatus.FAILED, set_aside=not event.arrivals and task.compensates is None)


def _task_cancelled(state: RunState, event: TaskCancelled) -> None:
    task = _open_task(state, event.path)
    state.counts.cancelled += 1
    if event.compensate is not None:
        state.keep(event.path, withdrawn_payload(event))
        note_undo(state, event.path, event.compensate)
    if event.final and task.item is not None:
        _item_withdrawn(state, task, task.item)
    _count_compensation(state, task, failed=True)
    _close(state, task, TaskStatus.CANCELLED, set_aside=task.compensates is None and not event.final)


def _count_compensation(state: RunState, task: TaskState, *, failed: bool) -> None:
    if state.compensation is not None and task.compensates is not None:
        state.compensation.failed += failed
        state.compensation.completed += not failed


def _task_suspended(state: RunState, event: TaskSuspended) -> None:
    if not state.begun:
        _begin(state, event.at)
    task = _open_task(state, event.path)
    task.waits = {wait.step: wait for wait in event.waits}
    task.not_before_us = 0
    if event.ready:
        check_task_move(task.status, TaskStatus.READY)
    else:
        _move_task(state, task, TaskStatus.WAITING)


def _task_resumed(state: RunState, event: TaskResumed) -> None:
    task = _open_task(state, event.path)
    if event.signal is not None:
        state.signals = [s for s in state.signals if s.seq != event.signal]
    wait = task.waits.pop(event.step)
    task.steps[event.step] = StepState(
        name=wait.name or wait.workflow or wait.kind, kind=event.by, result=event.result, error=event.error
    )
    if task.status is TaskStatus.WAITING:
        _move_task(state, task, TaskStatus.READY)


def _task_in_doubt(state: RunState, event: TaskInDoubt) -> None:
    task = _open_task(state, event.path)
    task.doubt = event.reason
    if event.late is not None:
        task.late_result = event.late
    _move_task(state, task, TaskStatus.IN_DOUBT)


def _late_result_noted(state: RunState, event: LateResultNoted) -> None:
    _open_task(state, event.path).late_result = event.result


def _task_resolved(state: RunState, event: TaskResolved) -> None:
    task = _open_task(state, event.path)
    task.doubt = task.late_result = None
    if event.action == "retry" or (event.action == "done" and task.open_step is not None):
        _move_task(state, task, TaskStatus.READY)
        task.attempt += 1
        if event.retry_us is not None:
            task.not_before_us = event.retry_us
            task.tries += 1
        if event.action == "retry":
            task.started = False
            asked = task.open_step
            if asked is not None:
                del task.open_steps[asked.step]


_APPLY: dict[type[Event], Callable[[RunState, Any], None]] = {
    RunStarted: _run_started,
    VariablesSet: _variables_set,
    RunPatched: _run_patched,
    SignalReceived: _signal_received,
    RunPaused: _run_paused,
    RunResumed: _run_resumed,
    BudgetExceeded: _budget_exceeded,
    BudgetRaised: _budget_raised,
    CancelRequested: _cancel_requested,
    RunStopping: _run_stopping,
    CompensationStarted: _compensation_started,
    RunContinued: _run_continued,
    RunRetried: _run_retried,
    RunSucceeded: _run_succeeded,
    RunFailed: _run_failed,
    RunCancelled: _run_cancelled,
    DataErased: _data_erased,
    ArrivalSwallowed: _arrival_swallowed,
    JoinHeldBack: _join_held_back,
    TaskScheduled: _task_scheduled,
    ItemsStarted: _items_started,
    TaskStarted: _task_started,
    StepStarted: _step_started,
    StepRecorded: _step_recorded,
    BudgetReserved: _budget_reserved,
    BudgetSettled: _budget_settled,
    DecisionMade: _decision_made,
    TaskCompleted: _task_completed,
    TaskFailed: _task_failed,
    GraphExtended: _graph_extended,
    PlanFinished: _plan_finished,
    TaskSkipped: _task_skipped,
    TaskCancelled: _task_cancelled,
    TaskSuspended: _task_suspended,
    TaskResumed: _task_resumed,
    TaskInDoubt: _task_in_doubt,
    LateResultNoted: _late_result_noted,
    TaskResolved: _task_resolved,
}
