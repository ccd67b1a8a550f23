"""DESIGN sections 2 and 3: failures, retries, `on_error`, and the retry of a failed run."""

import pytest

from orchestrator.kernel import commands as c
from orchestrator.kernel import events as e
from orchestrator.kernel.outlook import wakers_of
from orchestrator.kernel.status import RunStatus, TaskStatus
from orchestrator.kernel.tasks import retry_delay_us
from orchestrator.kernel.turn import CANCEL_GRACE_US, DEFERRALS_MAX
from orchestrator.model.definition import RetryPolicy
from tests.unit.kernel.world import SECOND, World, child, error, payload, run_of, signal

PARALLEL = {
    "fork": {"next_node": ["a", "b"]},
    "a": {"next_node": "join"},
    "b": {"next_node": "join"},
    "join": {},
}
POLICY = RetryPolicy(
    max_attempts=10,
    initial_us=SECOND,
    multiplier=2.0,
    max_interval_us=60 * SECOND,
    jitter=0.2,
    retry_on=(),
    never_on=(),
)


@pytest.mark.parametrize(
    ("failures", "draw", "seconds"),
    [
        (1, 0.5, 1),
        (2, 0.5, 2),
        (3, 0.5, 4),
        (6, 0.5, 32),
        (7, 0.5, 60),
        (400, 0.5, 60),
        (1, 0.0, 0.8),
        (2, 0.75, 2.2),
    ],
)
def test_the_delay_doubles_up_to_its_limit_and_the_draw_spreads_it(
    failures: int, draw: float, seconds: float
) -> None:
    assert retry_delay_us(POLICY, failures, draw) == round(seconds * SECOND)


def test_a_failed_attempt_is_tried_again_after_its_delay() -> None:
    run = run_of({"a": {}})
    run.fail("a", retryable=True, draw=0.5)
    assert run.last(e.TaskFailed).retry_us == run.now_us + SECOND
    assert run.rows["a"].due_us == run.now_us + SECOND
    assert run.state.tasks["a"].attempt == 2
    assert [(w.kind, w.reason) for w in wakers_of(run.state)] == [("timer", "retry")]


def test_after_the_last_attempt_the_run_fails_with_that_error() -> None:
    run = run_of({"a": {"retry": {"max_attempts": 2}}})
    run.fail("a", retryable=True)
    run.fail("a", retryable=True)
    assert run.state.status is RunStatus.FAILED
    assert run.state.error == error(retryable=True)


def test_an_error_that_is_not_retryable_is_not_tried_again() -> None:
    run = run_of({"a": {}})
    run.fail("a")
    assert run.state.status is RunStatus.FAILED


@pytest.mark.parametrize(("kind", "tried"), [("Good", True), ("Other", False), ("Bad", False)])
def test_retry_on_and_never_on_name_the_types_that_count(kind: str, tried: bool) -> None:
    run = run_of({"a": {"retry": {"retry_on": ["Good", "Bad"], "never_on": ["Bad"]}}})
    run.fail("a", kind, retryable=True)
    assert run.state.status.live is tried


def test_retry_later_counts_as_no_attempt_and_waits_as_long_as_the_author_said() -> None:
    run = run_of({"a": {"retry": {"max_attempts": 1}}})
    for _ in range(5):
        run.fail("a", retryable=True, later_us=7 * SECOND)
        assert run.rows["a"].due_us == run.now_us + 7 * SECOND
    assert (run.state.tasks["a"].deferrals, run.state.tasks["a"].tries) == (5, 0)


def test_retry_later_has_an_end() -> None:
    run = run_of({"a": {}})
    run.checked = False
    for _ in range(DEFERRALS_MAX):
        run.fail("a", retryable=True, later_us=0)
    assert run.state.status.live
    run.fail("a", retryable=True, later_us=0)
    assert run.state.status is RunStatus.FAILED


def test_an_error_is_handled_by_its_type_and_else_by_the_star() -> None:
    nodes = {"a": {"on_error": {"Known": "k", "*": "other"}}, "k": {}, "other": {}}
    known = run_of(nodes)
    known.fail("a", "Known")
    assert known.open == ["k"]
    unknown = run_of(nodes)
    unknown.fail("a", "Strange")
    assert unknown.open == ["other"]


def test_a_type_that_no_handler_names_fails_the_run() -> None:
    run = run_of({"a": {"on_error": {"Known": "k"}}, "k": {}})
    run.fail("a", "Strange")
    assert run.state.status is RunStatus.FAILED


def test_the_handler_sees_the_error_in_previous() -> None:
    run = run_of({"a": {"on_error": "k"}, "k": {}})
    run.fail("a")
    assert run.previous("k") == {"error": {"type": "Oops", "message": "Oops happened", "retryable": False}}
    run.complete("k")
    assert run.state.status is RunStatus.SUCCEEDED


def test_on_error_comes_only_after_the_last_attempt() -> None:
    run = run_of({"a": {"on_error": "k", "retry": {"max_attempts": 2}}, "k": {}})
    run.fail("a", retryable=True)
    assert run.open == ["a"]
    run.fail("a", retryable=True)
    assert run.open == ["k"]


def test_an_on_error_way_makes_no_join() -> None:
    run = run_of(
        {
            "fork": {"next_node": ["a", "b"]},
            "a": {"next_node": "mend"},
            "b": {"on_error": "mend", "next_node": "end"},
            "mend": {},
            "end": {},
        }
    )
    run.complete("fork")
    run.complete("a")
    assert run.open == ["b", "mend"]
    run.fail("b")
    assert run.open == ["mend", "mend@2"]


# --- stopping ---------------------------------------------------------------------------------------------------------


def test_after_a_failure_nothing_new_starts_and_results_of_running_tasks_are_taken() -> None:
    run = run_of(PARALLEL)
    run.complete("fork")
    run.fail("a")
    assert run.state.status is RunStatus.RUNNING
    run.complete("b")
    assert run.state.status is RunStatus.FAILED
    assert run.waiting_joins == ["join"]
    assert run.state.error == error()


def test_what_does_not_run_is_withdrawn_at_once_when_a_run_stops() -> None:
    run = run_of(
        {"fork": {"next_node": ["a", "b", "d", "x"]}, "a": {}, "b": {}, "d": {}, "x": {"class": "Pay"}}
    )
    run.complete("fork")
    run.suspend("b", signal("go"), child("run_child"))
    run.fail("d", retryable=True)
    run.do(c.StartTask(path="x"))
    run.do(c.DoubtTask(path="x", reason="lost"))
    run.fail("a")
    assert run.state.status is RunStatus.FAILED
    assert {path: task.status for path, task in run.state.set_aside.items()} == {
        "a": TaskStatus.FAILED,
        "b": TaskStatus.CANCELLED,
        "d": TaskStatus.CANCELLED,
        "x": TaskStatus.CANCELLED,
    }
    assert [ev.unknown for ev in run.events if isinstance(ev, e.TaskCancelled)] == [False, False, True]
    assert run.children == {}, "a child that was awaited is cancelled"


def test_the_grace_of_a_failing_run_has_an_end() -> None:
    run = run_of(PARALLEL)
    run.complete("fork")
    run.fail("a")
    run.do(c.Deadline(timer="grace"), after_us=CANCEL_GRACE_US - 1)
    assert run.open == ["b"]
    run.do(c.Deadline(timer="grace"), after_us=1)
    assert run.state.status is RunStatus.FAILED
    run.refused(c.CompleteTask(path="b", output=payload(1)), "task_not_open")


def test_a_worker_ends_its_task_when_the_run_stops() -> None:
    run = run_of(PARALLEL)
    run.complete("fork")
    run.fail("a")
    run.do(c.AbandonTask(path="b"))
    assert run.state.status is RunStatus.FAILED


def test_a_task_of_a_run_that_goes_on_cannot_be_abandoned() -> None:
    run_of({"a": {}}).refused(c.AbandonTask(path="a"), "not_stopping")


# --- retry of a failed run --------------------------------------------------------------------------------------------


def failed() -> World:
    run = run_of(PARALLEL)
    run.complete("fork")
    run.do(c.RecordStep(path="b", step="s", name="s", result=payload("kept")))
    run.suspend("b", signal("go"))
    run.fail("a")
    return run


def test_a_retry_takes_up_the_failed_and_the_stopped_tasks_with_their_steps() -> None:
    run = failed()
    run.do(c.RetryRun(by="ann", reason="mended"))
    assert run.open == ["a", "b"]
    assert run.last(e.RunRetried).reopened == ["a", "b"]
    assert run.state.tasks["b"].steps["s"].result is not None
    assert run.state.status is RunStatus.RUNNING
    assert run.state.error is None
    run.complete("a")
    run.complete("b")
    run.complete("join")
    assert run.state.status is RunStatus.SUCCEEDED


def test_a_retried_task_has_all_its_attempts_again_and_its_numbers_go_on() -> None:
    run = run_of({"a": {"retry": {"max_attempts": 2}}})
    run.fail("a", retryable=True)
    run.fail("a", retryable=True)
    run.do(c.RetryRun())
    task = run.state.tasks["a"]
    assert (task.attempt, task.tries, task.generation) == (3, 0, 1)
    run.fail("a", retryable=True)
    assert run.state.status.live


def test_a_retry_takes_up_what_was_on_its_way() -> None:
    run = run_of(PARALLEL | {"b": {"next_node": "more"}, "more": {}})
    run.complete("fork")
    run.fail("a")
    run.complete("b")
    assert run.state.status is RunStatus.FAILED
    run.do(c.RetryRun())
    assert run.open == ["a", "more"]


def test_a_retry_does_the_step_anew_that_the_task_failed_of_and_keeps_the_others() -> None:
    """Found by reading: the recorded failure was the answer again, so no retry could ever succeed."""
    run = run_of({"a": {}})
    run.do(c.RecordStep(path="a", step="first", name="first", error=error("Survived")))
    run.do(c.RecordStep(path="a", step="second", name="second", result=payload(2)))
    run.do(c.RecordStep(path="a", step="third", name="third", error=error("Final")))
    run.fail("a", "Final")
    run.do(c.RetryRun())
    assert list(run.state.tasks["a"].steps) == ["first", "second"]


@pytest.mark.parametrize("end", ["succeeded", "cancelled", "running"])
def test_only_a_failed_run_can_be_retried(end: str) -> None:
    run = run_of({"a": {}})
    if end == "succeeded":
        run.complete("a")
    elif end == "cancelled":
        run.do(c.CancelRun())
        run.do(c.AbandonTask(path="a"))
    run.refused(c.RetryRun(), "run_not_failed")


def test_a_retry_brings_an_irreversible_attempt_that_was_stopped_into_doubt() -> None:
    """Found by reading: it ran a second time."""
    run = run_of({"fork": {"next_node": ["a", "pay"]}, "a": {}, "pay": {"class": "Pay"}})
    run.complete("fork")
    run.do(c.StartTask(path="pay"))
    run.fail("a")
    run.do(c.Deadline(timer="grace"), after_us=CANCEL_GRACE_US)
    assert run.last(e.TaskCancelled).unknown
    run.do(c.RetryRun())
    assert run.state.tasks["pay"].status is TaskStatus.IN_DOUBT
    assert run.state.tasks["a"].status is TaskStatus.READY
    assert run.rows.keys() == {"a"}


def test_a_retry_of_a_run_that_had_recorded_nothing_goes_back_to_the_queue() -> None:
    """Found by reading: the status table had no way from failed to queued."""
    run = run_of({"a": {}}, budget={"duration": 1})
    run.do(c.Deadline(timer="budget"), after_us=SECOND)
    run.do(c.AbandonTask(path="a"))
    assert run.state.status is RunStatus.FAILED
    run.do(c.RetryRun())
    assert run.state.status is RunStatus.QUEUED


def test_a_retry_lifts_the_hold_of_a_run_that_failed_while_it_was_paused() -> None:
    """Found by reading: the queue held its rows for ever."""
    run = run_of({"a": {}}, output="{{ input }}")
    run.do(c.PauseRun())
    run.output_error = error("expression_failed")
    run.complete("a")
    assert run.state.status is RunStatus.FAILED
    run.do(c.RetryRun())
    assert not run.held
    assert run.state.status is RunStatus.FAILED, "its output can be had no better than before"
