"""DESIGN section 4: a fork continues a run's prefix as a run of its own."""

from typing import Any

import pytest

from orchestrator.errors import Conflict
from orchestrator.kernel import commands as c
from orchestrator.kernel import events as e
from orchestrator.kernel.state import encode_state
from orchestrator.kernel.status import RunStatus, TaskStatus
from tests.unit.kernel.world import (
    World,
    child,
    definition_of,
    payload,
    run_of,
    signal,
    started,
    timer,
    value_of,
)

CHAIN = {"a": {"next_node": "b"}, "b": {"next_node": "d", "params": {"x": "{{ vars.x }}"}}, "d": {}}


def chain() -> World:
    return started(definition_of(CHAIN), variables={"x": payload("old")})


def test_a_fork_begins_with_its_origin_and_goes_on_where_the_parent_was() -> None:
    run = chain()
    run.complete("a", "from a")
    cut = run.state.seq
    run.complete("b")
    run.complete("d")
    fork = run.fork(seq=cut)
    first = fork.events[0]
    assert isinstance(first, e.RunStarted)
    assert first.forked_from is not None
    assert (first.forked_from.run, first.forked_from.seq, first.reopened) == ("run_1", cut, ["b"])
    assert fork.open == ["b"]
    assert fork.previous("b") == "from a"
    assert fork.state.status is RunStatus.QUEUED
    assert run.state.status is RunStatus.SUCCEEDED


def test_at_every_group_a_fork_ends_as_its_parent_did() -> None:
    run = chain()
    for path in ("a", "b", "d"):
        run.complete(path)
    for cut in run.group_ends():
        fork = run.fork(seq=cut)
        while fork.state.status.live:
            fork.complete(fork.open[0])
        assert fork.state.status is RunStatus.SUCCEEDED
        assert fork.state.visits == run.state.visits


def test_in_a_fork_open_tasks_are_scheduled_anew_whatever_they_waited_for() -> None:
    run = run_of({"fork": {"next_node": ["a", "b", "pay"]}, "a": {}, "b": {}, "pay": {"class": "Pay"}})
    run.complete("fork")
    run.suspend("a", signal("go"), child("run_c"))
    run.suspend("b", timer(run.now_us + 1_000_000))
    run.do(c.StartTask(path="pay"))
    run.do(c.DoubtTask(path="pay", reason="lost"))
    fork = run.fork()
    assert {path: task.status for path, task in fork.state.tasks.items()} == dict.fromkeys(
        ("a", "b", "pay"), TaskStatus.READY
    )
    assert fork.rows.keys() == {"a", "b", "pay"}
    fork.suspend("a", child("run_c_of_the_fork"))
    assert fork.children.keys() == {"run_c_of_the_fork"}


def test_a_fork_of_a_failed_run_takes_up_what_failed() -> None:
    run = chain()
    run.fail("a")
    fork = run.fork()
    assert fork.open == ["a"]
    assert fork.state.counts.failed == 0


def test_a_fork_may_have_another_input_and_other_variables_which_its_open_tasks_read() -> None:
    """Found by reading: tasks that were open at the cut went on reading the parent's values."""
    run = chain()
    run.complete("a")
    fork = run.fork(input=payload({"new": True}), variables={"x": payload("patched")})
    assert value_of(fork.state.input) == {"new": True}
    key = fork.state.tasks["b"].reads.variables["x"]
    assert value_of(fork.state.payload(key)) == "patched"


def test_the_variables_of_a_fork_do_not_overwrite_values_of_its_parent() -> None:
    """Found by reading: both had the key `$x@5`, and a task of the fork saw a value of its future."""
    run = run_of(
        {"fork": {"next_node": ["set", "reader"]}, "set": {}, "reader": {"params": {"x": "{{ vars.x }}"}}}
    )
    run.complete("fork", variables={"x": payload("parent's")})
    set_at = run.last(e.VariablesSet).seq
    fork = run.fork()
    while fork.state.seq < set_at - 1:
        fork.signal("noise")
    fork.complete("set", variables={"x": payload("fork's")})
    assert fork.last(e.VariablesSet).seq == set_at
    assert value_of(fork.state.payload(fork.state.tasks["reader"].reads.variables["x"])) == "parent's"


def test_signals_that_the_parent_did_not_read_come_first_in_a_fork_and_keep_apart_from_its_own() -> None:
    """Found by reading: a signal of the fork and one of the parent had one number, and both were taken at once."""
    run = run_of({"a": {}})
    run.signal("go", "parent's", key="k")
    fork = run.fork()
    while fork.state.seq < run.state.seq - 1:
        fork.signal("noise")
    fork.signal("go", "fork's", key="k")
    fork.suspend("a", signal("go"))
    assert value_of(fork.state.tasks["a"].steps["signal:go"].result) == "parent's"
    fork.suspend("a", signal("go", step="again"))
    assert value_of(fork.state.tasks["a"].steps["again"].result) == "fork's"


def test_a_fork_of_a_fork_keeps_its_lines_apart() -> None:
    run = chain()
    run.complete("a")
    second = run.fork(variables={"x": payload(1)}).fork(variables={"x": payload(2)})
    assert second.state.forks == 2
    assert value_of(second.state.payload(second.state.variables["x"])) == 2


def test_a_fork_at_the_end_of_a_run_with_several_sinks_asks_for_its_output() -> None:
    """Found by reading: the end of such a fork was no end."""
    run = run_of({"a": {"next_node": ["b", "d"]}, "b": {}, "d": {}})
    for path in ("a", "b", "d"):
        run.complete(path)
    assert run.fork().state.status is RunStatus.SUCCEEDED


def test_a_fork_with_a_version_that_lacks_the_node_it_is_at_is_refused() -> None:
    run = chain()
    run.complete("a")
    before = encode_state(run.state)
    with pytest.raises(Conflict, match="has no `b`, where run run_1 is at 4") as refusal:
        run.fork(definition=definition_of({"a": {}}), version=2)
    assert refusal.value.reason == "fork_version"
    assert encode_state(run.state) == before


def test_a_run_that_exists_cannot_be_started_again() -> None:
    run_of({"a": {}}).refused(c.StartRun(run_id="run_1", workflow="flow", version=1), "run_exists")


# --- patches ----------------------------------------------------------------------------------------------------------

CHOICE = {
    "begin": {"next_node": ["pick", "beside"]},
    "pick": {"class": "Choose", "routes": ["left", "right"]},
    "left": {"next_node": "end"},
    "right": {"next_node": "end"},
    "beside": {"next_node": "end"},
    "end": {},
}


def chosen() -> World:
    run = run_of(CHOICE)
    run.complete("begin")
    run.complete("beside")
    run.complete("pick", "picked", route=["left"], variables={"x": payload("kept")})
    for path in ("left", "end"):
        run.complete(path)
    return run


def before(run: World, path: str) -> int:
    """The end of the group before the task's completion."""
    done = next(ev for ev in run.events if isinstance(ev, e.TaskCompleted) and ev.path == path)
    return done.group - 1


def given(value: object, *route: str, **more: Any) -> c.TaskPatch:
    choice = c.RouteChoice(targets=route, by="person", reason="the other way") if route else None
    return c.TaskPatch(output=payload(value), route=choice, **more)


def test_another_route_is_taken_where_the_task_is_open_at_the_cut() -> None:
    run = chosen()
    patch = given("picked", "right", variables={"x": payload("kept")})
    fork = run.fork(seq=before(run, "pick"), patches={"pick": patch})
    assert fork.open == ["right"]
    decision = fork.last(e.DecisionMade)
    assert ([one.node for one in decision.chosen], decision.by, decision.allowed) == (
        ["right"],
        "person",
        ["left", "right"],
    )
    assert fork.last(e.RunPatched).routes == {"pick": ["right"]}
    assert value_of(fork.state.payload(fork.state.variables["x"])) == "kept"
    fork.complete("right")
    assert fork.previous("end") == {"right": "right", "beside": "beside"}
    fork.complete("end")
    assert fork.state.status is RunStatus.SUCCEEDED


def test_a_route_that_is_not_allowed_is_refused_and_nothing_has_changed() -> None:
    run = chosen()
    with pytest.raises(Conflict, match="`end` is no route of `pick`; allowed: `left`, `right`") as refusal:
        run.fork(seq=before(run, "pick"), patches={"pick": given("picked", "end")})
    assert refusal.value.reason == "route_not_allowed"


def test_a_task_that_failed_completes_with_what_a_person_gives() -> None:
    run = chain()
    run.fail("a")
    fork = run.fork(patches={"a": given("by hand")})
    assert fork.open == ["b"]
    assert fork.previous("b") == "by hand"
    assert (fork.state.counts.failed, fork.state.counts.completed) == (0, 1)


def test_a_result_that_is_there_is_replaced_for_everybody_who_reads_it_later() -> None:
    run = run_of({"a": {"next_node": ["b", "d"]}, "b": {"next_node": "e"}, "d": {"next_node": "e"}, "e": {}})
    run.complete("a")
    run.complete("b")
    fork = run.fork(patches={"b": given("other")})
    assert fork.open == ["d"]
    assert fork.last(e.RunPatched).outputs == {"b": payload("other")}
    fork.complete("d")
    assert fork.previous("e") == {"b": "other", "d": "d"}


def test_the_output_of_the_last_task_is_replaced_in_a_fork_of_the_end() -> None:
    run = run_of({"a": {}})
    run.complete("a")
    fork = run.fork(patches={"a": given("better")})
    assert fork.state.status is RunStatus.SUCCEEDED
    assert value_of(fork.state.output) == "better"
    assert value_of(run.state.output) == "a"


def test_one_visit_of_a_loop_is_patched_and_the_visits_before_it_stay() -> None:
    run = run_of({"a": {"next_node": "b"}, "b": {"next_node": {"again": "a", "done": "end"}}, "end": {}})
    for visit, way in (("", "again"), ("@2", "again"), ("@3", "done")):
        run.complete(f"a{visit}")
        run.complete(f"b{visit}", route=[way])
    fork = run.fork(seq=before(run, "b@2"), patches={"b@2": given("b@2", "done")})
    assert fork.open == ["end"]
    assert fork.visits() == {"a": 2, "b": 2, "end": 1}


def test_what_nothing_reads_any_more_cannot_be_patched() -> None:
    run = chain()
    for path in ("a", "b"):
        run.complete(path)
    with pytest.raises(Conflict, match="no result of `nobody`") as refusal:
        run.fork(patches={"nobody": given(1)})
    assert refusal.value.reason == "fork_patch"
    with pytest.raises(Conflict, match="had gone its way"):
        run.fork(patches={"b": given(1, "a")})
