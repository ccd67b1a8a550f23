"""The journal in words: what each event and each live notice tells a person who follows a run.

One pure function for events (`tell`), one for events as the API shows them (`tell_view`), one for notices
(`tell_notice`). The worker's log, `orchestrator run` and `runs tail` all say the same.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from orchestrator.engine.views import words
from orchestrator.engine.views.payloads import without_payloads
from orchestrator.kernel import events as e
from orchestrator.kernel.tasks import BY_POLICY
from orchestrator.kernel.values import Chosen, ErrorInfo, Timing, Wait, microseconds

PLAN_NODES_TOLD_MAX = 8


class Line(NamedTuple):
    """One line of a log: its level (`debug`, `info`, `warning`, `error`) and the sentence."""

    level: str
    text: str


def tell(event: e.Event) -> Line:
    """What an event says to a person."""
    return _TELL[type(event)](event)


def tell_view(view: Mapping[str, Any]) -> Line:
    """As `tell`, of an event as the API shows it. A kind that this release doesn't know is named, and that is all."""
    try:
        event = msgspec.convert(without_payloads(view), e.AnyEvent)
    except msgspec.ValidationError:
        where = f"{view['path']}: " if view.get("path") else ""
        return Line("info", f"{where}{view.get('kind', 'event')}")
    return tell(event)


def tell_notice(notice: Mapping[str, Any]) -> Line:
    """What a live notice says to a person."""
    path, message = notice.get("path", ""), notice.get("message")
    match notice.get("kind"):
        case "task_started":
            attempt = notice.get("attempt") or 1
            level = "debug" if path.endswith("]") else "info"
            return Line(level, f"{path} started" + (f" (attempt {attempt})" if attempt > 1 else ""))
        case "task_progress":
            return Line("info", f"{path}: {_progress(notice)}")
        case "task_log":
            level = notice.get("level")
            known = level if level in ("debug", "info", "warning", "error") else "info"
            return Line(known, f"{path}: {message or ''}")
        case _:
            return Line("debug", f"{path}: {message or notice.get('kind', 'notice')}")


def _progress(notice: Mapping[str, Any]) -> str:
    done, total = notice.get("done"), notice.get("total")
    share = (
        f"{done:g} of {total:g}" if done is not None and total else f"{done:g}" if done is not None else ""
    )
    return ", ".join(part for part in (notice.get("message"), share) if part) or "goes on"


# --- the run ------------------------------------------------------------------------------------------------------


def _run_started(event: e.RunStarted) -> Line:
    origin = event.forked_from
    if origin is not None:
        return Line("info", f"run {event.run_id} continues {origin.run} from event {origin.seq} as a fork")
    if event.continues is not None:
        return Line("info", f"run {event.run_id} goes on for {event.continues.run}")
    child = f", for {event.parent.path} of {event.parent.run}" if event.parent is not None else ""
    return Line("info", f"run {event.run_id} of {event.workflow} (version {event.version}) started{child}")


def _variables_set(event: e.VariablesSet) -> Line:
    return Line("debug", f"{event.path or 'the run'} set {words.names(list(event.values))}")


def _run_patched(event: e.RunPatched) -> Line:
    said = [f"{event.by} changes the past"]
    if event.outputs:
        said.append(f"another output of {words.names(list(event.outputs))}")
    forced = [f"{path} goes to {words.names(to) if to else 'its end'}" for path, to in event.routes.items()]
    given = [path for path in event.completed if path not in event.routes]
    if given:
        said.append(f"{words.names(given)} completed by hand")
    return Line("info", "; ".join([*said, *forced]))


def _signal_received(event: e.SignalReceived) -> Line:
    sender = f" from {event.sender}" if event.sender else ""
    return Line("info", f"signal `{event.name}` came{sender}")


def _run_paused(event: e.RunPaused) -> Line:
    return Line("info", f"paused by {event.by}{_because(event.reason)}")


def _run_resumed(event: e.RunResumed) -> Line:
    return Line("info", f"resumed by {event.by}{_because(event.reason)}")


def _budget_exceeded(event: e.BudgetExceeded) -> Line:
    then = "; the run pauses until it is raised" if event.action == "pause" else ""
    return Line("warning", f"the budget of {words.budget(event.budget, event.limit)} is spent{then}")


def _budget_raised(event: e.BudgetRaised) -> Line:
    more = words.budget(event.budget, event.limit)
    return Line("info", f"{event.by} raises the budget to {more}{_because(event.reason)}")


def _budget_reserved(event: e.BudgetReserved) -> Line:
    return Line("debug", f"{event.path} sets {_usage(event)} aside for step `{event.step}`")


def _budget_settled(event: e.BudgetSettled) -> Line:
    where = f"step `{event.step}` of {event.path}" if event.step else event.path
    if event.lost:
        return Line("warning", f"{where}: answer lost; {_usage(event)} that were set aside count as used")
    return Line("debug", f"{where} used {_usage(event)}")


def _usage(event: e.BudgetReserved | e.BudgetSettled) -> str:
    parts = [
        words.budget(name, amount)
        for name, amount in (("tokens", event.tokens), ("cost_usd", event.cost_usd))
        if amount
    ]
    return " and ".join(parts) or "nothing"


def _cancel_requested(event: e.CancelRequested) -> Line:
    return Line("info", f"{event.by} cancels the run{_because(event.reason)}")


def _run_stopping(event: e.RunStopping) -> Line:
    if event.error is not None:
        return Line("warning", f"the run stops: {_error(event.error)}")
    if event.handover is not None:
        return Line("info", "the run stops, to go on as another run")
    return Line("info", "the run stops: a node said so")


def _compensation_started(event: e.CompensationStarted) -> Line:
    tasks = "1 task" if event.count == 1 else f"{event.count:,} tasks"
    return Line("warning", f"the run compensates for {tasks}, the newest first")


def _run_continued(event: e.RunContinued) -> Line:
    noun = "signal" if event.signals == 1 else "signals"
    signals = f" with {event.signals:,} unread {noun}" if event.signals else ""
    return Line("info", f"the run goes on as {event.run}{signals}")


def _run_retried(event: e.RunRetried) -> Line:
    again = f": {words.names(event.reopened)} again" if event.reopened else ""
    waits = f", {words.names(event.returned)} waits again" if event.returned else ""
    return Line("info", f"{event.by} retries the run{again}{waits}{_because(event.reason)}")


def _arrival_swallowed(event: e.ArrivalSwallowed) -> Line:
    why = {
        "late": f"{event.node} has run without it",
        "surplus": f"{event.node} has as many as it wants",
        "cancelled": "what led there is withdrawn",
    }
    return Line("debug", f"what {event.source} sent to {event.node} is dropped: {why[event.reason]}")


def _join_held_back(event: e.JoinHeldBack) -> Line:
    return Line("warning", f"{event.node} is held back: {words.names(event.failed)} failed before it")


def _data_erased(event: e.DataErased) -> Line:
    return Line("warning", f"{event.by} erases the run's data{_because(event.reason)}")


def _run_succeeded(event: e.RunSucceeded) -> Line:
    return Line("info", "the run succeeded")


def _run_failed(event: e.RunFailed) -> Line:
    where = f" at {event.error.path}" if event.error.path else ""
    return Line("error", f"the run failed{where}: {_error(event.error)}")


def _run_cancelled(event: e.RunCancelled) -> Line:
    return Line("info", f"the run is cancelled{_because(event.reason)}")


# --- tasks --------------------------------------------------------------------------------------------------------


def _task_scheduled(event: e.TaskScheduled) -> Line:
    if event.compensates is not None:
        return Line("info", f"{event.path} is ready, to compensate for {event.compensates}")
    return Line("debug", f"{event.path} is ready")


def _items_started(event: e.ItemsStarted) -> Line:
    return Line("info", f"{event.path} runs {event.count:,} {'item' if event.count == 1 else 'items'}")


def _graph_extended(event: e.GraphExtended) -> Line:
    nodes = event.plan.nodes
    listed = ", ".join(nodes[:PLAN_NODES_TOLD_MAX])
    more = f" and {len(nodes) - PLAN_NODES_TOLD_MAX:,} more" if len(nodes) > PLAN_NODES_TOLD_MAX else ""
    count = "1 node" if len(nodes) == 1 else f"{len(nodes):,} nodes"
    return Line("info", f"{event.path} laid a plan of {count}: {listed}{more}{_because(event.reason)}")


def _plan_finished(event: e.PlanFinished) -> Line:
    return Line("debug", f"{event.path} goes on: its plan is done")


def _task_started(event: e.TaskStarted) -> Line:
    return Line("info", f"{event.path} began attempt {event.attempt}; it must not happen twice")


def _step_started(event: e.StepStarted) -> Line:
    return Line("info", f"{event.path} began step `{event.name}`; it must not happen twice")


def _step_recorded(event: e.StepRecorded) -> Line:
    took = _took(event.started_at, event.at)
    if event.error is not None:
        return Line("warning", f"{event.path}: step `{event.name}` failed{took}: {_error(event.error)}")
    return Line("debug", f"{event.path}: step `{event.name}` done{took}")


def _decision_made(event: e.DecisionMade) -> Line:
    chosen = f"chose {_targets(event.chosen)}" if event.chosen else "chose to end its path"
    reason = f", because {words.shortened(event.reason, characters=500)}" if event.reason else ""
    sure = f", {event.confidence:.0%} sure" if event.confidence is not None else ""
    by = f"{event.by} {event.model}" if event.model else event.by
    allowed = f"; allowed: {', '.join(event.allowed)}" if event.allowed else ""
    return Line("info", f"{event.path} {chosen}{reason} ({by}{sure}{allowed})")


def _targets(chosen: list[Chosen]) -> str:
    nodes = " and ".join(dict.fromkeys(c.node for c in chosen))
    labels = " and ".join(dict.fromkeys(c.label for c in chosen if c.label is not None))
    return f"{nodes} (`{labels}`)" if labels and labels != nodes else nodes


def _task_completed(event: e.TaskCompleted) -> Line:
    listed = event.output.listed
    if listed is not None:
        return Line("info", f"{event.path} completed with {listed.count:,} outputs")
    if event.cached is not None:
        source = f"{event.cached.path} of {event.cached.run}"
        return Line(
            _level(event), f"{event.path} takes its output from the cache: {source}, {event.cached.at}"
        )
    return Line(_level(event), f"{event.path} completed{_in(event.timing, event.at)}")


def _level(event: e.TaskEvent) -> str:
    """What went well with one of many items is no news."""
    return "debug" if event.path.endswith("]") else "info"


def _task_failed(event: e.TaskFailed) -> Line:
    if event.retry_us is not None:
        delay = words.duration(event.retry_us - microseconds(event.at))
        if event.deferred:
            return Line("info", f"{event.path} asks for another try in {delay}: {event.error.message}")
        return Line("warning", f"retry of {event.path} in {delay}: {_error(event.error)}")
    if event.collected:
        return Line("warning", f"{event.path} failed, its error is collected: {_error(event.error)}")
    handled = f"; goes on with {words.names(event.arrivals)}" if event.arrivals else ""
    return Line(
        "warning", f"{event.path} failed{_in(event.timing, event.at)}: {_error(event.error)}{handled}"
    )


def _task_skipped(event: e.TaskSkipped) -> Line:
    return Line(_level(event), f"{event.path} skipped{_because(event.reason)}")


def _task_cancelled(event: e.TaskCancelled) -> Line:
    if event.unknown:
        return Line("warning", f"{event.path} withdrawn, it may have happened{_because(event.reason)}")
    return Line(_level(event), f"{event.path} withdrawn{_because(event.reason)}")


def _task_suspended(event: e.TaskSuspended) -> Line:
    waits = ", ".join(_wait(wait, microseconds(event.at)) for wait in event.waits[: words.NAMES_SHOWN_MAX])
    return Line(_level(event), f"{event.path} waits {waits or 'for nothing'}")


def _wait(wait: Wait, now_us: int) -> str:
    until = words.moment(wait.due_us, now_us=now_us) if wait.due_us is not None else ""
    if wait.kind == "signal":
        return f"for signal `{wait.name}`" + (f" until {until}" if until else "")
    if wait.kind == "child":
        return f"for run {wait.run} of {wait.workflow}"
    return f"until {until}"


def _task_resumed(event: e.TaskResumed) -> Line:
    came = {"timer": "its time has come", "signal": "its signal came", "child": "its run ended"}
    if event.by == "timeout":
        return Line("warning", f"{event.path} goes on: its signal did not come in time")
    failed = f" with {_error(event.error)}" if event.error is not None else ""
    return Line(_level(event), f"{event.path} goes on: {came.get(event.by, event.by)}{failed}")


def _task_in_doubt(event: e.TaskInDoubt) -> Line:
    step = f" (step `{event.step}`)" if event.step else ""
    return Line("warning", f"{event.path}{step} is in doubt{_because(event.reason)}")


def _task_resolved(event: e.TaskResolved) -> Line:
    by = f"`on_doubt` of {event.node}" if event.by == BY_POLICY else event.by
    return Line("info", f"{by} resolved {event.path}: {event.action}{_because(event.message)}")


def _late_result_noted(event: e.LateResultNoted) -> Line:
    step = f" (step `{event.step}`)" if event.step else ""
    return Line(
        "warning", f"worker {event.worker} had a result of {event.path}{step} after it lost its lease"
    )


# --- parts --------------------------------------------------------------------------------------------------------


def _error(error: ErrorInfo) -> str:
    return words.shortened(f"{error.type}: {error.message}", characters=500)


def _because(reason: str | None) -> str:
    return f": {words.shortened(reason, characters=500)}" if reason else ""


def _in(timing: Timing, at: str) -> str:
    return _took(timing.started_at, at)


def _took(started_at: str, at: str) -> str:
    if not started_at or not at:
        return ""
    return f" in {words.duration(microseconds(at) - microseconds(started_at))}"


_TELL: dict[type[e.Event], Callable[[Any], Line]] = {
    e.RunStarted: _run_started,
    e.VariablesSet: _variables_set,
    e.RunPatched: _run_patched,
    e.SignalReceived: _signal_received,
    e.RunPaused: _run_paused,
    e.RunResumed: _run_resumed,
    e.BudgetExceeded: _budget_exceeded,
    e.BudgetRaised: _budget_raised,
    e.BudgetReserved: _budget_reserved,
    e.BudgetSettled: _budget_settled,
    e.CancelRequested: _cancel_requested,
    e.RunStopping: _run_stopping,
    e.CompensationStarted: _compensation_started,
    e.RunContinued: _run_continued,
    e.RunRetried: _run_retried,
    e.RunSucceeded: _run_succeeded,
    e.RunFailed: _run_failed,
    e.RunCancelled: _run_cancelled,
    e.DataErased: _data_erased,
    e.ArrivalSwallowed: _arrival_swallowed,
    e.JoinHeldBack: _join_held_back,
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
