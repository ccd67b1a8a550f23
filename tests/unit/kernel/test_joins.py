"""Joins by number, rounds, `each`, `cancels`, failures that let other branches go on. One sentence, one test."""

from typing import Any

import pytest

from orchestrator.kernel import commands as c
from orchestrator.kernel import events as e
from orchestrator.kernel.joins import UNSATISFIED
from orchestrator.kernel.status import RunStatus
from tests.unit.kernel.world import World, payload, run_of, signal, started


def race(join: Any, *, arms: str = "abc", **more: Any) -> World:
    """Arms in parallel that meet in `j`, which `end` follows; begun."""
    nodes: dict[str, Any] = {"fork": {"next_node": list(arms)}}
    nodes |= {arm: {"next_node": "j"} for arm in arms}
    run = run_of({**nodes, "j": {"join": join, "next_node": "end"}, "end": {}}, **more)
    run.complete("fork")
    return run


def swallowed(run: World) -> list[tuple[str, str, str]]:
    return [(x.node, x.source, x.reason) for x in run.events if isinstance(x, e.ArrivalSwallowed)]


# --- any, and a number --------------------------------------------------------------------------------------------


def test_any_runs_on_the_first_arrival_and_swallows_the_others() -> None:
    run = race("any")
    run.complete("b")
    assert run.open == ["a", "c", "j"]
    assert run.previous("j") == {"b": "b"}
    run.complete("a")
    run.complete("j")
    run.complete("end")
    run.complete("c")
    assert run.visits() == {"fork": 1, "a": 1, "b": 1, "c": 1, "j": 1, "end": 1}
    assert swallowed(run) == [("j", "a", "late"), ("j", "c", "late")]
    assert run.state.status is RunStatus.SUCCEEDED


@pytest.mark.parametrize("join", [2, {"count": 2}, {"count": 2, "rest": "ignore"}])
def test_a_number_runs_on_the_nth_arrival(join: Any) -> None:
    run = race(join)
    run.complete("c")
    assert run.open == ["a", "b"]
    run.complete("a")
    assert run.open == ["b", "j"]
    assert run.previous("j") == {"c": "c", "a": "a"}


def test_the_rest_is_withdrawn_where_the_join_cancels_it() -> None:
    run = race({"count": 1, "rest": "cancel"})
    run.suspend("b", signal("never"))
    run.complete("a")
    assert run.open == ["j"]
    assert [x.path for x in run.events if isinstance(x, e.TaskCancelled) and x.final] == ["b", "c"]
    run.refused(c.CompleteTask(path="c", output=payload(1)), "task_not_open")


def test_the_rest_that_waits_at_another_join_is_dropped_with_it() -> None:
    run = run_of(
        {
            "fork": {"next_node": ["a", "x", "y"]},
            "a": {"next_node": "j"},
            "x": {"next_node": "inner"},
            "y": {"next_node": "inner"},
            "inner": {"next_node": "j"},
            "j": {"join": {"count": 1, "rest": "cancel"}},
        }
    )
    run.complete("fork")
    run.complete("x")
    run.complete("a")
    assert run.open == ["j"]
    assert swallowed(run) == [("inner", "x", "cancelled")]
    run.complete("j")
    assert run.state.status is RunStatus.SUCCEEDED


def test_what_a_late_task_leads_to_is_late_too() -> None:
    run = run_of(
        {
            "fork": {"next_node": ["a", "b"]},
            "a": {"next_node": "j"},
            "b": {"next_node": ["b1", "b2"]},
            "b1": {"next_node": "inner"},
            "b2": {"next_node": "inner"},
            "inner": {"next_node": ["j", "audit"]},
            "j": {"join": "any"},
            "audit": {},
        }
    )
    run.complete("fork")
    run.complete("a")
    for path in ("b", "b1", "b2", "inner"):
        run.complete(path)
    assert swallowed(run) == [("j", "inner", "late")]
    assert run.open == ["j", "audit"]
    assert run.state.late == {}


LOOP = {
    "head": {"next_node": ["a", "b"]},
    "a": {"next_node": "j"},
    "b": {"next_node": "j"},
    "j": {"join": "any", "next_node": {"again": "head", "done": "end"}},
    "end": {},
}


def test_the_next_round_is_held_until_the_last_one_is_over() -> None:
    run = run_of(LOOP)
    run.complete("head")
    run.complete("a")
    run.complete("j", route=["again"])
    run.complete("head@2")
    run.complete("b@2")
    assert run.open == ["b", "a@2"], "b@2 has arrived and is held: b of the first round is still on its way"
    run.complete("b")
    assert run.open == ["a@2", "j@2"]
    assert run.previous("j@2") == {"b": "b@2"}
    run.complete("j@2", route=["done"])
    run.complete("a@2")
    assert run.visits()["j"] == 2
    assert swallowed(run) == [("j", "b", "late"), ("j", "a", "late")]


def test_what_a_held_round_has_too_much_is_dropped_when_it_begins() -> None:
    run = run_of(LOOP)
    run.complete("head")
    run.complete("a")
    run.complete("j", route=["again"])
    run.complete("head@2")
    run.complete("b@2")
    run.complete("a@2")
    run.complete("b")
    assert run.open == ["j@2"]
    assert swallowed(run) == [("j", "b", "late"), ("j", "a", "surplus")]


def test_a_round_that_is_cancelled_is_over_at_once() -> None:
    nodes = {**LOOP, "j": {**LOOP["j"], "join": {"count": 1, "rest": "cancel"}}}
    run = run_of(nodes)
    run.complete("head")
    run.complete("a")
    run.complete("j", route=["again"])
    run.complete("head@2")
    run.complete("b@2")
    assert run.open == ["j@2"]


def test_a_join_behind_does_not_wait_for_what_will_be_swallowed() -> None:
    run = run_of(
        {
            "fork": {"next_node": ["a", "slow", "other"]},
            "a": {"next_node": "j"},
            "slow": {"next_node": "j"},
            "j": {"join": "any", "next_node": "both"},
            "other": {"next_node": "both"},
            "both": {},
        }
    )
    run.complete("fork")
    run.complete("a")
    run.complete("other")
    run.complete("j")
    assert run.open == ["slow", "both"]


def test_a_join_behind_waits_for_what_is_late_where_there_is_a_way_around() -> None:
    run = run_of(
        {
            "fork": {"next_node": ["a", "slow"]},
            "a": {"next_node": "j"},
            "slow": {"next_node": ["j", "both"]},
            "j": {"join": "any", "next_node": "both"},
            "both": {},
        }
    )
    run.complete("fork")
    run.complete("a")
    run.complete("j")
    assert run.open == ["slow"]
    run.complete("slow")
    assert run.previous("both") == {"j": "j", "slow": "slow"}


def test_a_number_merges_the_visits_of_one_source() -> None:
    run = run_of(
        {
            "split": {"next_node": ["t1", "t2", "t3"]},
            **{t: {"next_node": "work"} for t in ("t1", "t2", "t3")},
            "work": {"join": "each", "next_node": "merge"},
            "merge": {"join": 3},
        }
    )
    run.complete("split")
    for t in ("t1", "t2", "t3"):
        run.complete(t)
    assert run.open == ["work", "work@2", "work@3"]
    for path in run.open:
        run.complete(path)
    assert run.open == ["merge"]
    assert run.previous("merge") == {"work": ["work", "work@2", "work@3"]}


def test_a_number_that_can_no_longer_get_its_nth_arrival_fails_its_node() -> None:
    run = run_of(
        {
            "fork": {"next_node": ["a", "choice"]},
            "a": {"next_node": "j"},
            "choice": {"next_node": {"on": "j", "off": "end"}},
            "j": {"join": 2},
            "end": {},
        }
    )
    run.complete("fork")
    run.complete("a")
    run.complete("choice", route=["off"])
    failed = run.last(e.TaskFailed)
    assert (failed.path, failed.error.type) == ("j", UNSATISFIED)
    assert "waits for 2 arrivals; 1 came" in failed.error.message


def test_a_join_that_lacks_arrivals_leads_where_its_errors_lead() -> None:
    run = run_of(
        {
            "fork": {"next_node": ["a", "b"]},
            "a": {"next_node": "j"},
            "b": {"on_error": "mend", "next_node": "j"},
            "mend": {},
            "j": {"join": {"count": 2}, "on_error": {UNSATISFIED: "short"}},
            "short": {},
        }
    )
    run.complete("fork")
    run.complete("a")
    run.fail("b")
    assert run.open == ["mend", "short"]


def test_a_quorum_outvotes_a_failure_where_the_branches_go_on() -> None:
    run = race(2, on_failure="finish_branches")
    run.fail("a")
    run.complete("b")
    assert run.open == ["c"]
    run.complete("c")
    assert run.open == ["j"]


# --- each ---------------------------------------------------------------------------------------------------------


def test_each_runs_on_every_arrival_with_what_led_there() -> None:
    run = race("each")
    run.complete("b")
    assert run.open == ["a", "c", "j"]
    assert run.previous("j") == "b"
    run.complete("a")
    assert run.previous("j@2") == "a"
    run.complete("j")
    run.complete("j@2")
    assert run.visits()["end"] == 2


# --- cancels ------------------------------------------------------------------------------------------------------


def test_a_node_withdraws_what_it_cancels_when_it_completes() -> None:
    run = run_of(
        {
            "fork": {"next_node": ["a", "b", "x", "y"]},
            "a": {"cancels": ["b", "meet"], "next_node": "end"},
            "b": {"next_node": "meet"},
            "x": {"next_node": "meet"},
            "y": {"next_node": "meet"},
            "meet": {},
            "end": {},
        }
    )
    run.complete("fork")
    run.complete("x")
    run.complete("a")
    assert run.open == ["y", "end"]
    assert swallowed(run) == [("meet", "x", "cancelled")]
    run.complete("y")
    assert run.previous("meet") == {"y": "y"}, "what comes later comes"


def test_a_node_that_is_skipped_cancels_nothing() -> None:
    run = run_of({"fork": {"next_node": ["a", "b"]}, "a": {"cancels": ["b"]}, "b": {}})
    run.complete("fork")
    run.skip("a")
    assert run.open == ["b"]


def test_a_withdrawn_task_is_not_taken_up_by_a_retry() -> None:
    run = run_of({"fork": {"next_node": ["a", "b", "d"]}, "a": {"cancels": ["b"]}, "b": {}, "d": {}})
    run.complete("fork")
    run.complete("a")
    run.fail("d")
    assert run.state.status is RunStatus.FAILED
    run.do(c.RetryRun())
    assert run.open == ["d"]


def test_a_withdrawn_task_in_the_middle_of_something_irreversible_says_so() -> None:
    run = run_of({"fork": {"next_node": ["a", "b"]}, "a": {"cancels": ["b"]}, "b": {"class": "Pay"}})
    run.complete("fork")
    run.do(c.StartTask(path="b"))
    run.complete("a")
    assert run.last(e.TaskCancelled).unknown


# --- failures that let the branches go on ---------------------------------------------------------------------------


def branches(**more: Any) -> World:
    run = run_of(
        {
            "fork": {"next_node": ["a", "b", "d"]},
            "a": {"next_node": "j"},
            "b": {"next_node": "j"},
            "j": {"next_node": "k"},
            "d": {"next_node": ["k", "d2"]},
            "k": {},
            "d2": {},
        },
        on_failure="finish_branches",
        **more,
    )
    run.complete("fork")
    return run


def test_with_finish_branches_the_rest_goes_on_and_the_joins_behind_are_held_back() -> None:
    run = branches(output="{{ nodes.d2 }}")
    run.fail("b")
    assert run.state.status is RunStatus.RUNNING
    run.complete("a")
    run.complete("d")
    held = [(x.node, x.failed) for x in run.events if isinstance(x, e.JoinHeldBack)]
    assert held == [("j", ["b"]), ("k", ["b"])]
    run.complete("d2")
    assert run.state.status is RunStatus.FAILED
    assert run.state.error is not None
    assert run.state.error.type == "Oops"


def test_a_retry_takes_up_the_failed_branch_and_what_was_held_back() -> None:
    run = branches()
    run.fail("b")
    run.complete("a")
    run.complete("d")
    run.complete("d2")
    run.do(c.RetryRun())
    assert run.open == ["b"]
    run.complete("b")
    run.complete("j")
    assert run.previous("k") == {"d": "d", "j": "j"}
    run.complete("k")
    assert run.state.status is RunStatus.SUCCEEDED


def test_a_join_that_no_failed_task_could_have_reached_runs() -> None:
    run = run_of(
        {
            "fork": {"next_node": ["a", "b", "bad"]},
            "a": {"next_node": "j"},
            "b": {"next_node": "j"},
            "j": {},
            "bad": {},
        },
        on_failure="finish_branches",
    )
    run.complete("fork")
    run.fail("bad")
    run.complete("a")
    run.complete("b")
    assert run.open == ["j"]
    run.complete("j")
    assert run.state.status is RunStatus.FAILED


def test_a_handled_failure_is_none() -> None:
    run = run_of(
        {"fork": {"next_node": ["a", "b"]}, "a": {"on_error": "m"}, "m": {}, "b": {}},
        on_failure="finish_branches",
    )
    run.complete("fork")
    run.fail("a")
    run.complete("m")
    run.complete("b")
    assert run.state.status is RunStatus.SUCCEEDED


def test_what_a_join_that_lacked_arrivals_had_waits_again_after_a_retry() -> None:
    run = race(2, arms="ab", on_failure="finish_branches")
    run.fail("b")
    run.complete("a")
    assert run.state.status is RunStatus.FAILED
    run.do(c.RetryRun())
    assert run.last(e.RunRetried).returned == ["j"]
    assert run.open == ["b"]
    run.complete("b")
    assert run.open == ["j@2"]
    assert run.previous("j@2") == {"a": "a", "b": "b"}


def test_a_fork_of_a_run_whose_join_lacked_arrivals_does_not_run_it_without_them() -> None:
    run = race(2, arms="ab", on_failure="finish_branches")
    run.fail("b")
    run.complete("a")
    fork = run.fork()
    assert fork.open == ["b"]
    assert fork.waiting_joins == ["j"]


def test_a_cancelled_run_with_branches_ends_as_cancelled() -> None:
    run = branches()
    run.fail("b")
    run.do(c.CancelRun())
    for path in list(run.open):
        run.do(c.AbandonTask(path=path))
    assert run.state.status is RunStatus.CANCELLED


def test_a_join_at_the_start_of_a_run_starts_at_once() -> None:
    assert started(run_of({"a": {"join": "any"}}).definition).open == ["a"]


def test_one_of_each_takes_the_oldest_of_each_way_and_fails_what_is_left_over() -> None:
    run = run_of(
        {
            "fork": {"next_node": ["x", "y", "b"]},
            "x": {"next_node": "a"},
            "y": {"next_node": "a"},
            "a": {"join": "each", "next_node": "j"},
            "b": {"next_node": "j"},
            "j": {"join": "one_of_each", "on_error": "left"},
            "left": {},
        }
    )
    run.complete("fork")
    for path in ("x", "y", "a", "a@2"):
        run.complete(path)
    assert run.open == ["b"]
    run.complete("b")
    assert run.previous("j") == {"a": "a", "b": "b"}
    assert run.last(e.TaskFailed).error.type == UNSATISFIED
    assert run.open == ["j", "left"]
