"""Erasing a run's data: when it may be, what goes, what stays."""

import hashlib
import json
from collections.abc import Callable

import msgspec
import pytest

from orchestrator.errors import Conflict
from orchestrator.kernel import commands as c
from orchestrator.kernel import events as e
from orchestrator.kernel.apply import fold
from orchestrator.kernel.erasing import erased, erased_text
from orchestrator.kernel.state import RunState
from orchestrator.kernel.values import NULL, ErrorInfo, Listed, Payload, Plan
from tests.replay.record import SCENARIOS
from tests.unit.kernel.world import World, payload, run_of

SECRET = b"PLANTED"


def test_only_a_run_that_is_over_can_be_erased() -> None:
    run = run_of({"a": {}})
    with pytest.raises(Conflict, match="only the data of a run that is over") as refused:
        run.do(c.EraseRun())
    assert refused.value.reason == "run_not_over"
    run.complete("a")
    (event,) = run.do(c.EraseRun(by="anna", reason="asked to"))
    assert isinstance(event, e.DataErased)
    assert run.state.erased is not None
    assert run.state.erased.by == "anna"


def test_asked_again_it_stays_as_it_is() -> None:
    run = run_of({"a": {}})
    run.complete("a")
    run.do(c.EraseRun(by="anna"))
    assert run.do(c.EraseRun(by="ben")) == []
    assert run.state.erased is not None
    assert run.state.erased.by == "anna"


def test_nothing_goes_on_from_an_erased_run() -> None:
    run = run_of({"a": {"retry": {"max_attempts": 1}}})
    run.do(c.FailTask(path="a", error=ErrorInfo(type="Oops", message="x")))
    run.do(c.EraseRun())
    with pytest.raises(Conflict, match="nothing goes on from it") as refused:
        run.do(c.RetryRun())
    assert refused.value.reason == "run_erased"


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_an_erased_journal_still_folds_to_the_same_skeleton(scenario: Callable[[], World]) -> None:
    run = scenario()
    events = [e.decode(line) for line in run.journal]
    first = events[0]
    if isinstance(first, e.RunStarted) and first.forked_from is not None:
        return  # begins with its parent's state; covered with the whole engine
    state = fold(RunState(), [erased(event) for event in events])
    assert (state.status, state.seq, state.counts) == (run.state.status, run.state.seq, run.state.counts)
    assert list(state.tasks) == list(run.state.tasks)


def test_values_become_their_hash_and_size_and_twice_is_once() -> None:
    data = json.dumps({"x": "PLANTED"}).encode()
    event = e.TaskCompleted(path="a", node="a", attempt=1, output=Payload(value=msgspec.Raw(data)))
    once = erased(event)
    shown = json.loads(bytes(once.output.value))
    assert shown == {"$erased": {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}}
    assert e.encode(erased(once)) == e.encode(once)
    blob = erased(Payload(blob="b", run="r", bytes=100_000, sha256="ab" * 32))
    assert json.loads(bytes(blob.value)) == {"$erased": {"bytes": 100_000, "sha256": "ab" * 32}}


def test_what_says_nothing_stays() -> None:
    listed = Payload(listed=Listed(run="r", path="a", count=2, after=3, until=9), bytes=4)
    assert erased(listed) is listed
    assert erased(NULL) is NULL
    assert erased_text("") == ""


@pytest.mark.parametrize(
    "event",
    [
        e.RunStarted(
            run_id="r", workflow="w", version=1, input=payload("PLANTED"), variables={"v": payload("PLANTED")}
        ),
        e.SignalReceived(name="s", payload=payload("PLANTED"), key="k"),
        e.TaskFailed(
            path="a",
            node="a",
            attempt=1,
            error=ErrorInfo(type="E", message="PLANTED", details={"d": msgspec.Raw(b'"PLANTED"')}),
        ),
        e.StepRecorded(path="a", node="a", step="s", name="s", result=payload("PLANTED")),
        e.DecisionMade(path="a", node="a", chosen=[], allowed=[], reason="PLANTED"),
        e.TaskInDoubt(path="a", node="a", attempt=1, reason="PLANTED", late=payload("PLANTED")),
        e.TaskResolved(path="a", node="a", action="fail", message="PLANTED"),
        e.RunPatched(outputs={"a": payload("PLANTED")}),
        e.CancelRequested(grace_until_us=1, reason="PLANTED"),
        e.GraphExtended(
            path="a",
            node="a",
            attempt=1,
            reason="PLANTED",
            plan=Plan(
                record=msgspec.Raw(b'{"document":{"nodes":{"x":{"class":"Set","params":{"a":"PLANTED"}}}}}'),
                start_at="x",
                nodes=["x"],
            ),
        ),
    ],
    ids=lambda event: event.kind,
)
def test_nothing_of_the_data_is_left_in_an_event(event: e.Event) -> None:
    assert SECRET in e.encode(event)
    assert SECRET not in e.encode(erased(event))
    e.decode(e.encode(erased(event)))
