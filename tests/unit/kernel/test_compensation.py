"""Compensation: what a run that fails or is cancelled takes back, in which order, and what becomes of it."""

import pytest

from orchestrator.kernel import commands as c
from orchestrator.kernel import events as e
from orchestrator.kernel import turn as turn_module
from orchestrator.kernel.outlook import GRACE
from orchestrator.kernel.status import RunStatus
from tests.unit.kernel.world import SECOND, World, definition_of, error, payload, run_of, signal, started

TRIP = {
    "hotel": {"next_node": "flight", "compensate": "cancel_hotel"},
    "flight": {"next_node": "pay", "compensate": "cancel_flight"},
    "pay": {},
    "cancel_hotel": {},
    "cancel_flight": {},
}


def trip() -> World:
    run = run_of(TRIP)
    run.complete("hotel", {"room": 7})
    run.complete("flight", {"seat": "4A"})
    return run


def test_a_run_that_fails_takes_back_what_it_did_newest_first_and_one_at_a_time() -> None:
    run = trip()
    run.fail("pay")
    assert run.state.status is RunStatus.RUNNING
    assert run.open == ["cancel_flight"]
    assert run.previous("cancel_flight") == {"seat": "4A"}
    run.complete("cancel_flight")
    assert run.open == ["cancel_hotel"]
    assert run.previous("cancel_hotel") == {"room": 7}
    run.complete("cancel_hotel")
    assert run.state.status is RunStatus.FAILED
    assert run.last(e.RunFailed).error.type == "Oops"
    assert run.last(e.CompensationStarted).count == 2


def test_a_cancelled_run_compensates_before_it_is_cancelled() -> None:
    run = trip()
    run.do(c.CancelRun(reason="enough"))
    run.do(c.AbandonTask(path="pay"))
    assert run.state.status is RunStatus.CANCELLING
    run.complete("cancel_flight")
    run.complete("cancel_hotel")
    assert run.state.status is RunStatus.CANCELLED


def test_a_run_that_succeeds_takes_nothing_back() -> None:
    run = trip()
    run.complete("pay")
    assert run.state.status is RunStatus.SUCCEEDED
    assert not run.state.undo


def test_every_visit_is_taken_back_under_a_path_of_its_own() -> None:
    run = run_of(
        {
            "a": {"next_node": {"again": "a", "done": "b"}, "compensate": "undo"},
            "b": {},
            "undo": {},
        }
    )
    run.complete("a", 1, route=["again"])
    run.complete("a@2", 2, route=["again"])
    run.complete("a@3", 3, route=["done"])
    run.fail("b")
    taken: list[tuple[str | None, object]] = []
    for path in ("undo", "undo@2", "undo@3"):
        taken.append((run.state.tasks[path].compensates, run.previous(path)))
        run.complete(path)
    assert taken == [("a@3", 3), ("a@2", 2), ("a", 1)]


def test_a_compensation_that_fails_is_recorded_and_the_rest_goes_on() -> None:
    run = trip()
    run.fail("pay")
    run.fail("cancel_flight")
    assert run.open == ["cancel_hotel"]
    run.complete("cancel_hotel")
    assert run.state.status is RunStatus.FAILED
    assert run.last(e.RunFailed).error.path is None
    assert run.state.compensation is not None
    assert (run.state.compensation.completed, run.state.compensation.failed) == (1, 1)


def test_a_compensation_is_tried_again_as_its_policy_says() -> None:
    run = trip()
    run.fail("pay")
    run.fail("cancel_flight", retryable=True)
    assert run.open == ["cancel_flight"]
    assert run.state.tasks["cancel_flight"].attempt == 2


def test_a_compensation_may_wait_and_takes_signals() -> None:
    run = trip()
    run.fail("pay")
    run.suspend("cancel_flight", signal("refunded"))
    run.signal("refunded", {"ok": True})
    run.complete("cancel_flight")
    assert run.open == ["cancel_hotel"]


def test_compensation_is_outside_the_budget() -> None:
    run = run_of(TRIP, budget={"tasks": 2})
    run.complete("hotel")
    run.complete("flight")
    assert run.last(e.BudgetExceeded).budget == "tasks"
    assert run.open == ["cancel_flight"]


def test_a_write_that_was_withdrawn_while_it_ran_is_taken_back_with_the_fact_in_previous() -> None:
    run = run_of({"a": {"next_node": ["b", "c"]}, "b": {"compensate": "undo"}, "c": {}, "undo": {}})
    run.complete("a")
    run.fail("c")
    run.do(c.AbandonTask(path="b"))
    seen = run.previous("undo")
    assert (seen["output"], seen["unknown"]) == (None, True)
    assert seen["error"]["path"] == "b"


def test_a_write_that_never_began_is_not_taken_back() -> None:
    run = run_of({"a": {"next_node": ["b", "c"]}, "b": {"compensate": "undo"}, "c": {}, "undo": {}})
    run.complete("a")
    run.fail("c")
    run.do(c.AbandonTask(path="b", began=False))
    assert run.state.status is RunStatus.FAILED


def test_a_write_whose_attempt_was_cut_off_is_taken_back_although_its_error_is_handled() -> None:
    nodes = {"a": {"on_error": "b", "compensate": "undo"}, "b": {}, "undo": {}}
    run = run_of(nodes)
    run.fail("a", "timeout")
    assert run.previous("b")["error"]["type"] == "timeout"
    run.fail("b")
    assert run.previous("undo")["unknown"] is True


def test_a_write_that_says_that_it_failed_is_not_taken_back() -> None:
    run = run_of({"a": {"compensate": "undo"}, "undo": {}})
    run.fail("a")
    assert run.state.status is RunStatus.FAILED
    assert run.state.compensation is None


def test_a_task_in_doubt_is_taken_back_when_the_run_is_cancelled() -> None:
    run = run_of({"a": {"class": "Pay", "compensate": "undo"}, "undo": {}})
    run.do(c.StartTask(path="a", worker="w1"))
    run.do(c.DoubtTask(path="a", reason="its worker is gone"))
    run.do(c.CancelRun())
    assert run.previous("undo")["unknown"] is True


def test_a_compensation_in_doubt_waits_for_a_person() -> None:
    run = run_of({"a": {"compensate": "undo", "next_node": "b"}, "b": {}, "undo": {"class": "Pay"}})
    run.complete("a")
    run.fail("b")
    run.do(c.StartTask(path="undo", worker="w1"))
    run.do(c.DoubtTask(path="undo", reason="its worker is gone"))
    assert run.state.status is RunStatus.RUNNING
    run.do(c.ResolveTask(path="undo", action="done"))
    assert run.state.status is RunStatus.FAILED


def test_a_run_that_began_to_compensate_is_not_retried_but_forked_from_before() -> None:
    run = trip()
    before = run.state.seq
    run.fail("pay")
    run.refused(c.RetryRun(), "run_not_failed")
    run.complete("cancel_flight")
    run.complete("cancel_hotel")
    run.refused(c.RetryRun(), "compensating")
    run.refused(c.ForkRun(run_id="run_2", parent_run="run_1", seq=run.state.seq), "compensating")
    fork = run.fork(seq=before)
    assert fork.open == ["pay"]
    fork.fail("pay")
    assert fork.state.status is RunStatus.FAILED, "what the parent did is the parent's to take back"


def test_pause_is_refused_and_cancel_changes_only_the_end_during_compensation() -> None:
    run = trip()
    run.fail("pay")
    run.refused(c.PauseRun(), "stopping")
    run.do(c.CancelRun(reason="leave it"))
    assert run.open == ["cancel_flight"]
    assert not run.do(c.CancelRun()), "a second cancel changes nothing"
    assert GRACE not in run.rows
    run.do(c.Deadline(timer="grace"), after_us=60 * SECOND)
    run.complete("cancel_flight")
    run.complete("cancel_hotel")
    assert run.state.status is RunStatus.CANCELLED


def test_a_run_whose_output_fails_compensates() -> None:
    run = started(definition_of({"a": {"compensate": "undo"}, "undo": {}}, output="{{ vars.x }}"))
    run.output_error = error("BadOutput")
    run.complete("a")
    assert run.open == ["undo"]
    run.complete("undo")
    assert run.last(e.RunFailed).error.type == "BadOutput"


def test_a_stop_that_fails_the_run_compensates_and_one_that_succeeds_does_not() -> None:
    for succeed in (True, False):
        run = trip()
        run.do(c.CompleteTask(path="pay", output=payload(1), stop=c.StopRequest(succeed=succeed)))
        assert run.open == ([] if succeed else ["cancel_flight"])


def test_the_journal_keeps_room_for_compensation_and_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    run = trip()
    monkeypatch.setattr("orchestrator.kernel.flow.JOURNAL_EVENTS_MAX", 10 + 100)
    monkeypatch.setattr("orchestrator.kernel.flow.JOURNAL_EVENTS_RESERVED", 100)
    run.do(c.RecordStep(path="pay", step="s", name="s", result=payload(1)))
    assert run.state.ending is not None, "two visits to take back bring the end forward"
    run.do(c.AbandonTask(path="pay"))
    monkeypatch.setattr("orchestrator.kernel.compensation.JOURNAL_EVENTS_MAX", run.state.seq + 1 + 100)
    run.do(c.RecordStep(path="cancel_flight", step="s", name="s", result=payload(1)))
    assert run.state.status is RunStatus.FAILED, "a compensation that fills the last page is given up"
    assert turn_module.JOURNAL_EVENTS_MAX == 1_000_000
