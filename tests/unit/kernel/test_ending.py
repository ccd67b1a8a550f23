"""DESIGN section 3 and 12: pause, cancel, Stop, budgets, and the room that a journal keeps for its end."""

import pytest

from orchestrator.errors import Conflict
from orchestrator.kernel import commands as c
from orchestrator.kernel import events as e
from orchestrator.kernel.outlook import wakers_of
from orchestrator.kernel.status import RunStatus
from orchestrator.kernel.turn import CANCEL_GRACE_US, JOURNAL_EVENTS_MAX, JOURNAL_EVENTS_RESERVED
from orchestrator.kernel.values import Parent
from tests.unit.kernel.world import (
    SECOND,
    World,
    definition_of,
    ended_messages,
    payload,
    run_of,
    signal,
    started,
    timer,
    value_of,
)

TWO = {"fork": {"next_node": ["a", "b"]}, "a": {"next_node": "x"}, "b": {}, "x": {}}


# --- pause ------------------------------------------------------------------------------------------------------------


def test_a_pause_holds_the_queue_and_a_result_of_a_running_task_is_taken() -> None:
    run = run_of(TWO)
    run.complete("fork")
    run.do(c.PauseRun(reason="lunch"))
    assert run.held
    run.complete("a")
    assert run.state.status is RunStatus.PAUSED
    assert ("operator", "paused") in [(w.kind, w.reason) for w in wakers_of(run.state)]
    run.do(c.ResumeRun())
    assert not run.held
    assert run.state.status is RunStatus.RUNNING
    assert run.open == ["b", "x"]


def test_a_pause_of_a_paused_run_and_a_resume_of_a_running_one_change_nothing() -> None:
    run = run_of(TWO)
    assert run.do(c.ResumeRun()) == []
    run.do(c.PauseRun())
    assert run.do(c.PauseRun()) == []


def test_a_paused_run_whose_last_task_completes_has_succeeded() -> None:
    run = run_of({"a": {}})
    run.do(c.PauseRun())
    run.complete("a")
    assert run.state.status is RunStatus.SUCCEEDED


def test_a_run_that_is_stopping_cannot_be_paused() -> None:
    run = run_of(TWO)
    run.complete("fork")
    run.do(c.CancelRun())
    run.refused(c.PauseRun(), "stopping")
    run.refused(c.StartTask(path="a"), "stopping")
    run.refused(c.StartStep(path="a", step="s", name="s"), "stopping")


def test_time_in_pause_and_in_waiting_is_not_active() -> None:
    run = run_of({"a": {}})
    run.do(c.PauseRun(), after_us=2 * SECOND)
    run.do(c.ResumeRun(), after_us=100 * SECOND)
    run.do(c.SuspendTask(path="a", waits=(signal("go"),)), after_us=3 * SECOND)
    assert run.state.status is RunStatus.WAITING
    assert run.state.active_us == 5 * SECOND
    assert run.state.active_since_us is None


# --- cancel -----------------------------------------------------------------------------------------------------------


def test_a_cancelled_run_tells_its_tasks_and_ends_when_they_have_reported() -> None:
    run = run_of(TWO)
    run.complete("fork")
    run.do(c.CancelRun(by="ann", reason="enough"))
    assert run.state.status is RunStatus.CANCELLING
    assert run.rows["#grace"].due_us == run.now_us + CANCEL_GRACE_US
    run.complete("a")
    assert run.open == ["b"], "a result is taken, and nothing new starts"
    run.do(c.AbandonTask(path="b"))
    assert run.state.status is RunStatus.CANCELLED
    assert run.last(e.RunCancelled).reason == "enough"
    assert run.rows == {}


@pytest.mark.parametrize("where", ["queued", "running", "waiting", "paused", "failing"])
def test_every_live_state_can_be_cancelled(where: str) -> None:
    run = run_of(TWO)
    if where != "queued":
        run.complete("fork")
    if where == "waiting":
        run.suspend("a", signal("go"))
        run.suspend("b", timer(run.now_us + SECOND))
    elif where == "paused":
        run.do(c.PauseRun())
    elif where == "failing":
        run.fail("a")
    run.do(c.CancelRun())
    if run.state.status.live:
        run.do(c.Deadline(timer="grace"), after_us=CANCEL_GRACE_US)
    assert run.state.status is RunStatus.CANCELLED


def test_a_cancel_asked_for_again_changes_nothing_and_a_finished_run_refuses_it() -> None:
    run = run_of({"a": {}})
    run.do(c.CancelRun())
    assert run.do(c.CancelRun()) == []
    run.do(c.AbandonTask(path="a"))
    assert run.do(c.CancelRun()) == []
    done = run_of({"a": {}})
    done.complete("a")
    done.refused(c.CancelRun(), "run_over")


@pytest.mark.parametrize(
    "command",
    [
        c.PauseRun(),
        c.ResumeRun(),
        c.DeliverSignal(name="s", payload=payload(1), key="k"),
        c.CompleteTask(path="a", output=payload(1)),
        c.ResolveTask(path="a", action="retry"),
    ],
)
def test_a_run_that_is_over_refuses_what_would_change_it(command: c.Command) -> None:
    run = run_of({"a": {}})
    run.complete("a")
    with pytest.raises(Conflict):
        run.do(command)
    assert run.do(c.Deadline(timer="grace")) == []


# --- Stop -------------------------------------------------------------------------------------------------------------


def stop(run: World, path: str, *, succeed: bool) -> None:
    run.do(
        c.CompleteTask(
            path=path, output=payload("stopped"), stop=c.StopRequest(succeed=succeed, message="no more")
        )
    )


def test_stop_ends_the_whole_run_as_succeeded_with_its_output() -> None:
    run = run_of(TWO)
    run.complete("fork")
    stop(run, "a", succeed=True)
    run.do(c.AbandonTask(path="b"))
    assert run.state.status is RunStatus.SUCCEEDED
    assert value_of(run.state.output) == "stopped"
    assert run.last(e.RunSucceeded).stopped
    assert run.rows == {}


def test_the_timer_of_the_grace_goes_although_all_told_tasks_completed() -> None:
    """Found by reading: nothing was cancelled, so the run looked like one that had ended by itself."""
    run = run_of(TWO)
    run.complete("fork")
    stop(run, "a", succeed=True)
    run.complete("b")
    assert run.state.status is RunStatus.SUCCEEDED
    assert run.rows == {}


def test_stop_may_end_the_run_as_failed() -> None:
    run = run_of({"a": {"next_node": "b", "on_error": "b"}, "b": {}})
    stop(run, "a", succeed=False)
    assert run.state.status is RunStatus.FAILED
    assert run.state.error is not None
    assert (run.state.error.type, run.state.error.message) == ("stopped", "no more")


def test_a_retry_comes_back_to_the_stop_that_failed_the_run() -> None:
    """Found by reading: nothing was left to do, so the retried run had succeeded."""
    run = run_of({"a": {}})
    stop(run, "a", succeed=False)
    run.do(c.RetryRun())
    assert run.open == ["a"]


# --- budgets ----------------------------------------------------------------------------------------------------------


def test_the_budget_of_tasks_ends_a_loop_without_exit() -> None:
    run = run_of({"a": {"next_node": {"again": "a", "done": "b"}}, "b": {}}, budget={"tasks": 3})
    for path in ("a", "a@2", "a@3"):
        run.complete(path, route=["again"])
    assert run.state.status is RunStatus.FAILED
    assert run.state.counts.total == 3
    assert (run.last(e.BudgetExceeded).budget, run.last(e.BudgetExceeded).value) == ("tasks", 4)
    assert run.state.error is not None
    assert (
        run.state.error.message
        == "the budget of 3 tasks is spent; raise `budget.tasks` or look for a loop without exit"
    )


def test_the_budget_of_duration_counts_active_time_only() -> None:
    run = run_of({"a": {}}, budget={"duration": 60})
    assert run.rows["#budget"].due_us == run.now_us + 60 * SECOND
    run.do(c.SuspendTask(path="a", waits=(signal("go"),)), after_us=10 * SECOND)
    run.do(c.Deadline(timer="budget"), after_us=50 * SECOND)
    assert run.state.status is RunStatus.WAITING
    assert run.rows["#budget"].due_us == run.now_us + 60 * SECOND, "a waiting run is looked at again later"
    run.signal("go")
    run.do(c.Deadline(timer="budget"), after_us=49 * SECOND)
    assert run.rows["#budget"].due_us == run.now_us + SECOND
    run.do(c.Deadline(timer="budget"), after_us=SECOND)
    assert run.last(e.BudgetExceeded).budget == "duration"
    assert "#budget" not in run.rows


def test_a_run_without_a_limit_of_its_own_has_no_timer_for_it() -> None:
    assert "#budget" not in run_of({"a": {}}).rows


# --- the journal's room -----------------------------------------------------------------------------------------------

FULL = JOURNAL_EVENTS_MAX - JOURNAL_EVENTS_RESERVED


def nearly_full(run: World) -> World:
    """As if the journal were that long. Its events are not there, so the fold is not compared."""
    run.state.seq = FULL - 1
    run.checked = False
    return run


def test_a_full_journal_stops_the_run_while_there_is_room_to_say_so() -> None:
    run = nearly_full(run_of({"a": {"next_node": "b"}, "b": {}}))
    run.complete("a")
    assert run.state.status is RunStatus.FAILED
    assert run.state.error is not None
    assert run.state.error.type == "journal_full"
    assert run.state.error.message == "the journal has 990,000 of at most 1,000,000 events"


@pytest.mark.parametrize("how", ["signal", "retry", "wait", "step"])
def test_whatever_fills_a_journal_stops_the_run(how: str) -> None:
    """Found by reading: only new tasks and steps were counted; the others went on for ever."""
    run = nearly_full(run_of({"a": {}}))
    if how == "signal":
        run.signal("s")
    elif how == "retry":
        run.fail("a", retryable=True)
    elif how == "wait":
        run.suspend("a", signal("s"))
    else:
        run.do(c.RecordStep(path="a", step="s", name="s", result=payload(1)))
    assert run.last(e.RunStopping).error.type == "journal_full"


# --- a child tells its parent -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["succeeded", "failed", "cancelled"])
def test_a_child_tells_its_parent_how_it_ended(how: str) -> None:
    parent = Parent(run="run_0", path="task", step="child")
    run = started(definition_of({"a": {}}), parent=parent, depth=1)
    if how == "succeeded":
        run.complete("a", "done")
    elif how == "failed":
        run.fail("a")
    else:
        run.do(c.CancelRun())
        run.do(c.AbandonTask(path="a"))
    (told,) = ended_messages(run.messages)
    assert (told.to, told.run, told.path, told.step) == ("run_0", "run_1", "task", "child")
    kind = told.error.type if told.error is not None else None
    assert kind == {"succeeded": None, "failed": "Oops", "cancelled": "child_cancelled"}[how]
    assert (told.output is not None) is (how == "succeeded")
