import msgspec
import pytest

from orchestrator.engine.views.payloads import (
    PAYLOAD_FIELDS,
    PAYLOAD_MAPS,
    event_view,
    payload_bytes,
    payload_view,
)
from orchestrator.engine.views.story import Line, tell, tell_notice, tell_view
from orchestrator.kernel import commands as c
from orchestrator.kernel import events as e
from orchestrator.kernel.values import (
    NULL,
    Chosen,
    ErrorInfo,
    ForkOrigin,
    Handover,
    Listed,
    Parent,
    Payload,
    Timing,
    Wait,
    microseconds,
)
from tests.unit.engine.runs import Run, payload

AT = "2026-11-22T16:00:10.000000Z"
AT_US = microseconds(AT)
EARLIER = "2026-11-22T16:00:09.824000Z"

CHOICE = {
    "route": {"class": "Choose"},
    "left": {"class": "Plain"},
    "right": {"class": "Plain"},
}
OOPS = ErrorInfo(type="TimeoutError", message="no answer", path="a", node="a")


@pytest.mark.parametrize(
    ("event", "level", "text"),
    [
        (e.RunStarted(run_id="r", workflow="W", version=2), "info", "run r of W (version 2) started"),
        (
            e.RunStarted(run_id="r", workflow="W", version=2, parent=Parent(run="p", path="a", step="s")),
            "info",
            "run r of W (version 2) started, for a of p",
        ),
        (
            e.RunStarted(run_id="f", workflow="W", version=2, forked_from=ForkOrigin(run="r", seq=7)),
            "info",
            "run f continues r from event 7 as a fork",
        ),
        (e.VariablesSet(values={"n": payload(1)}, path="a", node="a"), "debug", "a set `n`"),
        (e.SignalReceived(name="go", payload=payload(1), key="k"), "info", "signal `go` came"),
        (e.RunPaused(reason="lunch"), "info", "paused by operator: lunch"),
        (e.RunResumed(), "info", "resumed by operator"),
        (
            e.BudgetExceeded(budget="tasks", limit=1000, value=1001),
            "warning",
            "the budget of 1,000 tasks is spent",
        ),
        (
            e.BudgetExceeded(budget="duration", limit=60_000_000, value=61_000_000),
            "warning",
            "the budget of 60 s is spent",
        ),
        (
            e.BudgetExceeded(budget="cost_usd", limit=0.5, value=0.6, action="pause"),
            "warning",
            "the budget of $0.5 is spent; the run pauses until it is raised",
        ),
        (
            e.BudgetRaised(budget="tokens", limit=2000, reason="a longer text"),
            "info",
            "operator raises the budget to 2,000 tokens: a longer text",
        ),
        (
            e.BudgetReserved(path="a", node="a", step="ask", attempt=1, tokens=9, cost_usd=0.25),
            "debug",
            "a sets 9 tokens and $0.25 aside for step `ask`",
        ),
        (
            e.BudgetSettled(path="a", node="a", step="ask", tokens=9, lost=True),
            "warning",
            "step `ask` of a: answer lost; 9 tokens that were set aside count as used",
        ),
        (e.BudgetSettled(path="a", node="a", tokens=3), "debug", "a used 3 tokens"),
        (e.CancelRequested(grace_until_us=0, reason="wrong"), "info", "operator cancels the run: wrong"),
        (
            e.RunStopping(cause="failure", grace_until_us=0, error=OOPS),
            "warning",
            "the run stops: TimeoutError: no answer",
        ),
        (e.RunStopping(cause="stop", grace_until_us=0), "info", "the run stops: a node said so"),
        (e.RunRetried(reopened=["a", "b"]), "info", "operator retries the run: `a` and `b` again"),
        (e.RunSucceeded(output=payload(1)), "info", "the run succeeded"),
        (e.RunFailed(error=OOPS), "error", "the run failed at a: TimeoutError: no answer"),
        (e.RunCancelled(reason="wrong"), "info", "the run is cancelled: wrong"),
        (e.TaskScheduled(path="a", node="a", visit=1), "debug", "a is ready"),
        (e.ItemsStarted(path="a", node="a", attempt=1, count=2_000, chunks=[]), "info", "a runs 2,000 items"),
        (
            e.TaskCompleted(path="a[17]", node="a", attempt=1, output=NULL),
            "debug",
            "a[17] completed",
        ),
        (
            e.TaskCompleted(
                path="a",
                node="a",
                attempt=1,
                output=Payload(listed=Listed(run="r", path="a", count=1_999, after=3, until=9)),
            ),
            "info",
            "a completed with 1,999 outputs",
        ),
        (
            e.TaskStarted(path="a", node="a", attempt=1),
            "info",
            "a began attempt 1; it must not happen twice",
        ),
        (
            e.StepStarted(path="a", node="a", step="s", name="pay"),
            "info",
            "a began step `pay`; it must not happen twice",
        ),
        (
            e.StepRecorded(path="a", node="a", step="s", name="ask", started_at=EARLIER),
            "debug",
            "a: step `ask` done in 176 ms",
        ),
        (
            e.StepRecorded(path="a", node="a", step="s", name="ask", error=OOPS),
            "warning",
            "a: step `ask` failed: TimeoutError: no answer",
        ),
        (
            e.DecisionMade(
                path="step_route_user",
                node="step_route_user",
                chosen=[Chosen(node="step_escalate")],
                allowed=["step_escalate", "step_standard_process"],
                reason='user.type is "premium"',
            ),
            "info",
            'step_route_user chose step_escalate, because user.type is "premium" '
            "(rule; allowed: step_escalate, step_standard_process)",
        ),
        (
            e.DecisionMade(
                path="a",
                node="a",
                chosen=[Chosen(node="b", label="true")],
                allowed=["true", "false"],
                by="model",
                model="m-1",
                confidence=0.9,
            ),
            "info",
            "a chose b (`true`) (model m-1, 90% sure; allowed: true, false)",
        ),
        (
            e.DecisionMade(path="a", node="a", chosen=[], allowed=[], by="function"),
            "info",
            "a chose to end its path (function)",
        ),
        (
            e.TaskCompleted(
                path="a", node="a", attempt=1, output=payload(1), timing=Timing(started_at=EARLIER)
            ),
            "info",
            "a completed in 176 ms",
        ),
        (
            e.TaskFailed(path="a", node="a", attempt=1, error=OOPS, retry_us=AT_US + 2_000_000),
            "warning",
            "retry of a in 2 s: TimeoutError: no answer",
        ),
        (
            e.TaskFailed(
                path="a", node="a", attempt=1, error=OOPS, retry_us=AT_US + 2_000_000, deferred=True
            ),
            "info",
            "a asks for another try in 2 s: no answer",
        ),
        (
            e.TaskFailed(path="a", node="a", attempt=3, error=OOPS, arrivals=["mend"]),
            "warning",
            "a failed: TimeoutError: no answer; goes on with `mend`",
        ),
        (e.TaskSkipped(path="a", node="a", reason="`when` is false"), "info", "a skipped: `when` is false"),
        (
            e.TaskCancelled(path="a", node="a", reason="the run is stopping"),
            "info",
            "a withdrawn: the run is stopping",
        ),
        (
            e.TaskCancelled(path="a", node="a", reason="the run is stopping", unknown=True),
            "warning",
            "a withdrawn, it may have happened: the run is stopping",
        ),
        (
            e.TaskSuspended(
                path="a",
                node="a",
                attempt=1,
                waits=[
                    Wait(step="s", kind="signal", name="go", due_us=AT_US + 60_000_000),
                    Wait(step="c", kind="child", run="r2", workflow="W"),
                    Wait(step="t", kind="timer", due_us=AT_US + 86_400_000_000),
                ],
            ),
            "info",
            "a waits for signal `go` until 16:01:10 UTC, for run r2 of W, until 2026-11-23 16:00 UTC",
        ),
        (
            e.TaskResumed(path="a", node="a", step="s", by="timer"),
            "info",
            "a goes on: its time has come",
        ),
        (
            e.TaskResumed(path="a", node="a", step="s", by="timeout", error=OOPS),
            "warning",
            "a goes on: its signal did not come in time",
        ),
        (
            e.TaskInDoubt(path="a", node="a", attempt=1, reason="worker w1 died", step="pay"),
            "warning",
            "a (step `pay`) is in doubt: worker w1 died",
        ),
        (
            e.TaskResolved(path="a", node="a", action="retry", message="checked"),
            "info",
            "operator resolved a: retry: checked",
        ),
    ],
)
def test_each_event_reads_as_a_sentence(event: e.Event, level: str, text: str) -> None:
    event.at = AT
    assert tell(event) == Line(level, text)


def test_no_kind_of_event_is_without_its_sentence() -> None:
    from orchestrator.engine.views import story

    assert set(story._TELL) == set(e.KINDS)


def test_an_event_as_the_api_shows_it_reads_the_same() -> None:
    run = Run(CHOICE, input={"user": 1})
    run.complete("route", {"big": "x" * 100}, route=c.RouteChoice(targets=("left",), reason="so"))
    run.do(c.DeliverSignal(name="go", payload=payload([1]), key="k"))
    run.wait_for_signal("left", name="other")
    for event in run.events:
        assert tell_view(event_view(e.encode(event))) == tell(event)


def test_an_event_of_a_newer_release_is_named() -> None:
    assert tell_view({"seq": 1, "kind": "graph_extended", "path": "plan"}) == Line(
        "info", "plan: graph_extended"
    )


@pytest.mark.parametrize(
    ("notice", "line"),
    [
        ({"kind": "task_started", "path": "a", "attempt": 1}, Line("info", "a started")),
        ({"kind": "task_started", "path": "a", "attempt": 2}, Line("info", "a started (attempt 2)")),
        (
            {"kind": "task_progress", "path": "a", "message": "pages", "done": 3.0, "total": 10},
            Line("info", "a: pages, 3 of 10"),
        ),
        ({"kind": "task_progress", "path": "a"}, Line("info", "a: goes on")),
        (
            {"kind": "task_log", "path": "a", "level": "warning", "message": "slow"},
            Line("warning", "a: slow"),
        ),
        ({"kind": "task_log", "path": "a", "level": "loud", "message": "x"}, Line("info", "a: x")),
        ({"kind": "task_ended", "path": "a"}, Line("debug", "a: task_ended")),
    ],
)
def test_a_notice_reads_as_a_sentence(notice: dict[str, object], line: Line) -> None:
    assert tell_notice(notice) == line


def test_every_field_that_holds_a_payload_is_in_the_table() -> None:
    for kind in e.KINDS:
        tag = str(kind.__struct_config__.tag)
        single = tuple(n for n, t in kind.__annotations__.items() if t in (Payload, Payload | None))
        maps = tuple(n for n, t in kind.__annotations__.items() if t == dict[str, Payload])
        assert PAYLOAD_FIELDS.get(tag, ()) == single, tag
        assert PAYLOAD_MAPS.get(tag, ()) == maps, tag


def test_an_event_shows_values_and_names_blobs() -> None:
    blob = Payload(blob="b1", run="r", bytes=100_000, sha256="ab")
    event = e.TaskCompleted(path="a", node="a", attempt=1, output=blob)
    assert event_view(e.encode(event))["output"] == {"$blob": {"bytes": 100_000, "sha256": "ab"}}
    started = e.RunStarted(
        run_id="r", workflow="W", version=1, input=payload({"a": None}), variables={"v": payload(None)}
    )
    view = event_view(e.encode(started))
    assert view["kind"] == "run_started"
    assert view["input"] == {"a": None}
    assert view["variables"] == {"v": None}
    assert payload_view(blob) == {"$blob": {"bytes": 100_000, "sha256": "ab"}}
    assert payload_bytes(blob) == 100_000
    assert payload_bytes(payload([1, 2])) == 5
    assert payload_view(None) is None


def test_what_a_run_goes_on_with_is_shown_as_its_value_and_told_without_it() -> None:
    stopping = e.RunStopping(
        seq=1,
        at="2026-11-22T16:00:00Z",
        cause="continue",
        grace_until_us=0,
        handover=Handover(run="run_2", input=Payload(value=msgspec.Raw(b'{"page":2}'))),
    )
    view = event_view(e.encode(stopping))
    assert view["handover"]["input"] == {"page": 2}
    assert tell_view(view) == Line("info", "the run stops, to go on as another run")
    going_on = e.RunContinued(seq=1, run="run_2", input=Payload(value=msgspec.Raw(b"1")), signals=2)
    view = event_view(e.encode(going_on))
    assert view["input"] == 1
    assert tell_view(view).text == "the run goes on as run_2 with 2 unread signals"
