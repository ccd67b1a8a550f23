"""Continue: a run that goes on as another one, and what that one takes over."""

import pytest

from orchestrator.errors import Conflict
from orchestrator.kernel import commands as c
from orchestrator.kernel import events as e
from orchestrator.kernel.handover import predecessor_of, signals_handed_over
from orchestrator.kernel.messages import CancelChild, StartSuccessor
from orchestrator.kernel.outlook import open_messages, wakers_of
from orchestrator.kernel.status import RunStatus
from orchestrator.kernel.values import NULL, Handover, Parent
from tests.unit.kernel.world import (
    SECOND,
    World,
    definition_of,
    ended_messages,
    error,
    payload,
    run_of,
    started,
)

NEXT = Handover(run="run_2", input=payload({"page": 2}))


def go_on(run: World, path: str = "a") -> list[e.Event]:
    return run.do(c.CompleteTask(path=path, output=NULL, handover=NEXT))


def successor_of(run: World) -> World:
    """The successor as the engine would start it."""
    return started(
        run.definition,
        input={"page": 2},
        continues=predecessor_of(run.state),
        signals=signals_handed_over(run.state),
        parent=run.state.parent,
    )


def test_a_run_goes_on_as_another_and_is_live_until_that_one_exists() -> None:
    run = run_of({"a": {"next_node": "b"}, "b": {}})
    go_on(run)
    assert run.last(e.RunContinued).run == "run_2"
    assert run.state.status is RunStatus.RUNNING
    assert [waker.kind for waker in wakers_of(run.state)] == ["successor"]
    assert run.messages == [StartSuccessor(to="run_2")]
    assert open_messages(run.state) == run.messages, "a lost message can be told from the state"
    run.do(c.FinishHandover(run="run_2"))
    assert run.state.status is RunStatus.SUCCEEDED
    assert run.state.output == NULL
    assert not run.do(c.FinishHandover(run="run_2")), "a repeat changes nothing"


def test_what_else_runs_has_its_grace_before_the_run_goes_on() -> None:
    run = run_of({"f": {"next_node": ["a", "b"]}, "a": {}, "b": {}})
    run.complete("f")
    go_on(run)
    assert run.last(e.RunStopping).cause == "continue"
    assert run.state.handover is None
    run.do(c.Deadline(timer="grace"), after_us=20 * SECOND)
    assert run.state.handover is not None


def test_unread_signals_and_the_spent_budget_are_taken_over() -> None:
    run = run_of({"a": {"next_node": "b"}, "b": {}}, budget={"tasks": 3})
    run.signal("news", {"n": 1}, key="k1")
    run.complete("a")
    go_on(run, "b")
    successor = successor_of(run)
    assert [(s.name, s.payload) for s in successor.state.signals] == [("news", payload({"n": 1}))]
    successor.complete("a")
    assert successor.last(e.BudgetExceeded).value == 4


def test_the_time_that_was_spent_counts_on() -> None:
    run = run_of({"a": {}}, budget={"duration": 60})
    run.now_us += 45 * SECOND
    go_on(run)
    successor = successor_of(run)
    successor.do(c.Deadline(timer="budget"), after_us=10 * SECOND)
    assert successor.state.status is RunStatus.RUNNING or successor.state.status is RunStatus.QUEUED
    successor.do(c.Deadline(timer="budget"), after_us=10 * SECOND)
    assert successor.last(e.BudgetExceeded).budget == "duration"


def test_a_run_that_went_on_takes_no_signals_and_says_who_does() -> None:
    run = run_of({"a": {}})
    go_on(run)
    for _ in range(2):
        with pytest.raises(Conflict, match="went on as run run_2") as refusal:
            run.signal("late")
        assert refusal.value.reason == "run_continued"
        run.do(c.FinishHandover(run="run_2"))
    run.refused(c.CancelRun(), "run_continued")


def test_a_cancel_in_between_is_passed_on() -> None:
    run = run_of({"a": {}})
    go_on(run)
    run.do(c.CancelRun(reason="enough"))
    assert run.state.status is RunStatus.CANCELLING
    run.do(c.FinishHandover(run="run_2"))
    assert run.state.status is RunStatus.CANCELLED
    assert run.messages[-1] == CancelChild(to="run_2", passed_on=True)


def test_a_successor_that_cant_be_started_fails_the_run_and_a_retry_tries_again() -> None:
    run = run_of({"a": {}})
    go_on(run)
    run.do(c.FinishHandover(run="run_2", error=error("not_found")))
    assert run.last(e.RunFailed).error.type == "not_found"
    run.do(c.RetryRun())
    assert run.messages[-1] == StartSuccessor(to="run_2")
    run.do(c.FinishHandover(run="run_2"))
    assert run.state.status is RunStatus.SUCCEEDED


def test_only_the_last_of_a_chain_tells_its_end_under_the_name_of_the_first() -> None:
    parent = Parent(run="run_0", path="task", step="child")
    run = started(definition_of({"a": {}}), parent=parent, depth=1)
    go_on(run)
    successor = successor_of(run)
    run.do(c.FinishHandover(run="run_2"))
    assert not list(ended_messages(run.messages))
    successor.complete("a", {"at": "last"})
    (ended,) = ended_messages(successor.messages)
    assert (ended.to, ended.run, ended.output) == ("run_0", "run_1", payload({"at": "last"}))


def test_what_was_set_aside_and_noted_for_compensation_is_let_go() -> None:
    nodes = {"f": {"next_node": ["a", "b"], "compensate": "undo"}, "a": {}, "b": {}, "undo": {}}
    run = run_of(nodes)
    run.complete("f")
    go_on(run)
    run.do(c.AbandonTask(path="b"))
    assert not run.state.undo
    assert not run.state.set_aside
    run.do(c.FinishHandover(run="run_2"))
    assert run.state.status is RunStatus.SUCCEEDED


def test_a_child_may_go_on_when_its_parent_is_gone() -> None:
    parent = Parent(run="run_0", path="task", step="child")
    for rule, status in (("abandon", RunStatus.QUEUED), ("cancel", RunStatus.CANCELLING)):
        run = started(definition_of({"a": {}}, on_parent_cancel=rule), parent=parent, depth=1)
        run.do(c.CancelRun(by="parent", from_parent=True))
        assert run.state.status is status
        run.do(c.CancelRun(by="ann"))
        assert run.state.status is RunStatus.CANCELLING
