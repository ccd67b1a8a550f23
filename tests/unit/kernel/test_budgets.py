"""DESIGN sections 2 and 8: what a run may use, reserved before a call and settled after it; at the cap it pauses."""

import pytest

from orchestrator.kernel import commands as c
from orchestrator.kernel import events as e
from orchestrator.kernel.outlook import wakers_of
from orchestrator.kernel.status import RunStatus
from orchestrator.kernel.values import Timing, Usage
from tests.unit.kernel.world import SECOND, World, payload, run_of, signal

LOOP = {"a": {"next_node": {"again": "a", "done": "b"}}, "b": {}}


def reserve(run: World, path: str, tokens: int, *, step: str = "ask", cost: float = 0.0) -> list[e.Event]:
    return run.do(c.ReserveBudget(path=path, step=step, usage=Usage(tokens=tokens, cost_usd=cost)))


def record(run: World, path: str, usage: Usage | None, *, step: str = "ask") -> list[e.Event]:
    return run.do(c.RecordStep(path=path, step=step, name=step, result=payload("said"), usage=usage))


def raised(run: World, **limits: float) -> list[e.Event]:
    return run.do(c.RaiseBudget(limits=limits))


def test_a_run_whose_tasks_are_spent_pauses_and_goes_on_once_they_are_raised() -> None:
    run = run_of(LOOP, budget={"tasks": 2, "on_exceeded": "pause"})
    run.complete("a", route=["again"])
    run.complete("a@2", route=["again"])
    assert run.state.status is RunStatus.PAUSED
    assert run.open == []
    assert [(w.kind, w.name) for w in wakers_of(run.state)] == [("budget", "tasks")]
    run.refused(c.ResumeRun(), "budget_spent")
    raised(run, tasks=4)
    assert run.open == ["a@3"]
    assert run.state.status is RunStatus.RUNNING
    run.complete("a@3", route=["done"])
    run.complete("b")
    assert run.state.status is RunStatus.SUCCEEDED


def test_tasks_and_duration_fail_and_tokens_and_cost_pause_where_nothing_is_said() -> None:
    run = run_of(LOOP, budget={"tasks": 1, "tokens": 10})
    reserve(run, "a", 11)
    assert run.last(e.BudgetExceeded).action == "pause"
    raised(run, tokens=20)
    run.complete("a", route=["again"])
    assert run.last(e.BudgetExceeded).action == "fail"
    assert run.state.status is RunStatus.FAILED


def test_a_spent_duration_pauses_and_its_timer_comes_back_with_the_raise() -> None:
    run = run_of({"a": {}}, budget={"duration": 60, "on_exceeded": "pause"})
    run.do(c.Deadline(timer="budget"), after_us=60 * SECOND)
    assert run.state.status is RunStatus.PAUSED
    assert "#budget" not in run.rows
    run.now_us += 1_000 * SECOND
    raised(run, duration=90 * SECOND)
    assert run.rows["#budget"].due_us - run.now_us == 30 * SECOND, "the pause isn't counted"
    run.do(c.Deadline(timer="budget"), after_us=30 * SECOND)
    assert run.state.status is RunStatus.PAUSED


def test_what_is_reserved_counts_until_it_is_settled() -> None:
    run = run_of({"a": {"next_node": ["b", "c"]}, "b": {}, "c": {}}, budget={"tokens": 100})
    run.complete("a")
    reserve(run, "b", 60)
    assert not any(isinstance(event, e.BudgetReserved) for event in reserve(run, "c", 41))
    assert run.state.status is RunStatus.PAUSED
    record(run, "b", Usage(tokens=15))
    assert (run.state.spent.tokens, run.state.reserved.tokens) == (15, 0)
    raised(run, tokens=101)
    assert isinstance(reserve(run, "c", 41)[0], e.BudgetReserved)


def test_a_call_that_names_no_usage_used_what_was_reserved() -> None:
    run = run_of({"a": {}}, budget={"cost_usd": 1})
    reserve(run, "a", 0, cost=0.25)
    record(run, "a", None)
    assert run.state.spent.nano_usd == 250_000_000
    assert not run.last(e.BudgetSettled).lost


def test_a_call_dearer_than_its_bound_counts_and_pauses_the_run_behind_it() -> None:
    run = run_of({"a": {}}, budget={"tokens": 10})
    reserve(run, "a", 10)
    record(run, "a", Usage(tokens=25))
    assert run.last(e.BudgetExceeded).value == 25
    assert run.state.status is RunStatus.PAUSED
    assert list(run.state.tasks["a"].steps) == ["ask"]


@pytest.mark.parametrize("end", ["suspended", "failed", "completed", "cancelled", "asked again"])
def test_a_reservation_left_open_is_settled_in_full_as_an_answer_lost(end: str) -> None:
    run = run_of({"a": {"retry": {"max_attempts": 2}}}, budget={"tokens": 100})
    reserve(run, "a", 30)
    match end:
        case "suspended":
            run.suspend("a", signal("x"))
        case "failed":
            run.fail("a", retryable=True)
        case "completed":
            run.complete("a")
        case "cancelled":
            run.do(c.CancelRun())
            run.do(c.AbandonTask(path="a"))
        case _:
            reserve(run, "a", 40)
    settled = run.last(e.BudgetSettled)
    assert (settled.tokens, settled.lost) == (30, True)
    assert run.state.spent.tokens == 30
    assert run.state.reserved.tokens == (40 if end == "asked again" else 0)


def test_a_fork_drops_what_is_reserved_and_keeps_what_is_spent() -> None:
    run = run_of({"a": {"next_node": "b"}, "b": {}}, budget={"tokens": 100})
    reserve(run, "a", 5)
    record(run, "a", Usage(tokens=5))
    reserve(run, "a", 50, step="more")
    fork = run.fork()
    assert (fork.state.spent.tokens, fork.state.reserved.tokens) == (5, 0)
    assert fork.state.tasks["a"].reserved == {}


def test_what_a_task_used_beside_its_steps_is_counted() -> None:
    run = run_of({"a": {"next_node": "b"}, "b": {}}, budget={"tokens": 100})
    timing = Timing(worker="w1", usage={"tokens": 7, "cost_usd": 0.5})
    run.do(c.CompleteTask(path="a", output=payload(1), timing=timing))
    assert (run.state.spent.tokens, run.state.spent.nano_usd) == (7, 500_000_000)


@pytest.mark.parametrize(("settled", "counted"), [(0, 30), (12, 30), (40, 40)])
def test_what_a_decision_cost_is_not_counted_again_after_its_steps(settled: int, counted: int) -> None:
    run = run_of({"a": {"class": "Choose", "routes": ["b"]}, "b": {}})
    if settled:
        record(run, "a", Usage(tokens=settled))
    route = c.RouteChoice(targets=("b",), usage={"input_tokens": 20, "output_tokens": 10})
    run.do(c.CompleteTask(path="a", output=payload(1), route=route))
    assert run.state.spent.tokens == counted


def test_a_budget_can_only_be_raised() -> None:
    run = run_of({"a": {}}, budget={"tasks": 5})
    run.refused(c.RaiseBudget(limits={"tasks": 4}), "budget_not_raised")
    run.refused(c.RaiseBudget(limits={"tokens": 4}), "no_budget")
    assert raised(run, tasks=5) == [], "a repeat changes nothing"
    run.complete("a")
    run.refused(c.RaiseBudget(limits={"tasks": 9}), "run_over")


def test_a_person_s_pause_outlives_the_raise() -> None:
    run = run_of({"a": {}}, budget={"tokens": 10})
    reserve(run, "a", 11)
    run.do(c.PauseRun())
    raised(run, tokens=20)
    assert (run.state.status, run.held) == (RunStatus.PAUSED, True)
    run.do(c.ResumeRun())
    assert (run.state.status, run.held) == (RunStatus.QUEUED, False)
