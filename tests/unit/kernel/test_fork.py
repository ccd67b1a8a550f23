"""DESIGN section 4: a fork continues a run's prefix as a run of its own."""

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
