"""Plans: a block of new nodes under the task that laid it, which counts as live until the block is done."""

import pytest

from orchestrator.errors import Conflict
from orchestrator.kernel import commands as c
from orchestrator.kernel import events as e
from orchestrator.kernel.outlook import wakers_of
from orchestrator.kernel.status import RunStatus, TaskStatus
from orchestrator.kernel.values import ItemChunk
from tests.unit.kernel.world import World, payload, plan_of, run_of, signal, value_of

PAIR = plan_of({"a": {"next_node": "b"}, "b": {}})
FORK = plan_of({"a": {"next_node": ["b", "c"]}, "b": {}, "c": {}})


def failed(run: World) -> e.TaskFailed:
    event = run.last(e.TaskFailed)
    assert isinstance(event, e.TaskFailed)
    return event


def test_a_join_beside_a_plan_waits_for_it_and_gets_one_arrival() -> None:
    run = run_of({"s": {"next_node": ["p", "x"]}, "p": {"next_node": "j"}, "x": {"next_node": "j"}, "j": {}})
    run.complete("s")
    run.lay("p", PAIR)
    run.complete("x")
    run.complete("p/a")
    assert run.open == ["p", "p/b"]
    run.complete("p/b", "found")
    assert run.open == ["j"], "the block's one sink is the output, and no worker is needed for that"
    assert run.previous("j") == {"p": "found", "x": "x"}
    run.complete("j")
    assert run.state.status is RunStatus.SUCCEEDED
    assert not run.state.plans


def test_what_led_to_the_task_leads_to_the_first_node_of_its_plan() -> None:
    run = run_of({"s": {"next_node": "p"}, "p": {}})
    run.complete("s", "first")
    run.lay("p", PAIR)
    assert run.previous("p/a") == "first"


def test_several_sinks_are_put_together_by_a_worker() -> None:
    run = run_of({"p": {"next_node": "end"}, "end": {}})
    run.lay("p", FORK)
    run.complete("p/a")
    run.complete("p/b")
    run.complete("p/c")
    task = run.state.tasks["p"]
    assert task.status is TaskStatus.READY
    assert task.reads.nodes == {"b": "p/b", "c": "p/c"}
    run.complete("p", {"b": 1, "c": 2})
    assert run.open == ["end"]


def test_an_output_of_the_plan_reads_its_nodes_and_those_around_it() -> None:
    run = run_of({"s": {"next_node": "p"}, "p": {}, "b": {}})
    run.complete("s")
    run.lay("p", plan_of({"a": {"next_node": "b"}, "b": {}}, output="{{ nodes.b }} {{ nodes.s }}"))
    run.complete("p/a")
    run.complete("p/b")
    assert run.state.tasks["p"].reads.nodes == {"b": "p/b", "s": "s"}


def test_each_visit_has_a_plan_of_its_own_and_leaves_nothing_behind() -> None:
    run = run_of(
        {"p": {"next_node": "again"}, "again": {"class": "Choose", "routes": ["p", "end"]}, "end": {}}
    )
    for visit in ("p", "p@2", "p@3"):
        run.lay(visit, PAIR)
        run.complete(f"{visit}/a")
        run.complete(f"{visit}/b")
        run.complete(run.open[0], route=["p"])
    state = run.state
    assert not state.plans
    assert not [node for table in (state.latest, state.visits, state.sinks) for node in table if "/" in node]


def test_plans_lie_in_plans_at_most_32_deep() -> None:
    run = run_of({"p": {}})
    path = "p"
    for _ in range(32):
        run.lay(path, plan_of({"p": {}}))
        path += "/p"
    run.lay(path, plan_of({"p": {}}))
    assert failed(run).error.type == "plan_refused"
    assert "32 deep" in failed(run).error.message


@pytest.mark.parametrize(
    ("node", "why"),
    [
        ({"class": "Choose", "routes": ["end"]}, "chose no route"),
        ({"for_each": "{{ input }}"}, "for_each"),
    ],
)
def test_what_could_not_go_on_after_its_plan_lays_none(node: dict[str, object], why: str) -> None:
    run = run_of({"p": node, "end": {}})
    run.lay("p", PAIR)
    assert why in failed(run).error.message
    assert run.state.status is RunStatus.FAILED


def test_a_plan_larger_than_the_budget_that_is_left_is_refused() -> None:
    run = run_of({"p": {}}, budget={"tasks": 2})
    run.lay("p", FORK)
    assert "3 nodes" in failed(run).error.message
    assert "1 tasks left" in failed(run).error.message


def test_a_budget_that_pauses_in_a_plan_doesnt_end_it() -> None:
    run = run_of({"p": {}}, budget={"tasks": 3, "on_exceeded": "pause"})
    run.lay("p", plan_of({"a": {"next_node": ["a", "b"], "join": "each"}, "b": {}}))
    run.complete("p/a")
    run.complete(run.open[1])
    assert run.state.status is RunStatus.PAUSED
    assert run.state.tasks["p"].status is TaskStatus.WAITING
    run.do(c.RaiseBudget(limits={"tasks": 50}))
    assert any(path.startswith("p/") for path in run.open)


# --- failures -----------------------------------------------------------------------------------------------------


def test_on_error_of_the_planning_node_takes_a_failure_in_its_plan() -> None:
    run = run_of({"p": {"on_error": {"Oops": "mend"}, "next_node": "end"}, "mend": {}, "end": {}})
    run.lay("p", FORK)
    run.complete("p/a")
    run.suspend("p/b", signal("go"))
    run.fail("p/c")
    assert run.open == ["mend"]
    assert value_of(run.state.payload("p"))["error"]["path"] == "p/c"
    cancelled = run.last(e.TaskCancelled)
    assert (cancelled.path, cancelled.final) == ("p/b", True)
    run.complete("mend")
    assert run.state.status is RunStatus.SUCCEEDED
    assert not run.state.set_aside


def test_the_nearest_planning_node_that_takes_the_error_fails() -> None:
    run = run_of({"p": {"on_error": "mend"}, "mend": {}})
    run.lay("p", plan_of({"q": {"on_error": {"Other": "r"}}, "r": {}}))
    run.lay("p/q", PAIR)
    run.fail("p/q/a")
    assert run.open == ["mend"]


def test_a_failed_plan_is_retried_where_it_was() -> None:
    run = run_of({"p": {"next_node": "end"}, "end": {}})
    run.lay("p", FORK)
    run.complete("p/a")
    run.suspend("p/b", signal("go"))
    run.fail("p/c")
    assert run.state.status is RunStatus.FAILED
    run.do(c.RetryRun())
    assert set(run.open) == {"p", "p/b", "p/c"}
    assert run.state.tasks["p"].status is TaskStatus.WAITING


def test_the_branches_of_a_plan_are_finished_and_what_is_behind_it_held_back() -> None:
    run = run_of(
        {"s": {"next_node": ["p", "x"]}, "p": {"next_node": "j"}, "x": {"next_node": "j"}, "j": {}},
        on_failure="finish_branches",
    )
    run.complete("s")
    run.complete("x")
    run.lay("p", FORK)
    run.complete("p/a")
    run.fail("p/b")
    assert run.open == ["p", "p/c"]
    run.complete("p/c")
    assert run.last(e.JoinHeldBack).failed == ["p"]
    assert run.state.status is RunStatus.FAILED
    assert run.last(e.RunFailed).error.message == "Oops happened", (
        "the first failure, not what followed from it"
    )
    run.do(c.RetryRun())
    run.complete("p/b")
    run.complete("p", {"b": 1, "c": 2})
    run.complete("j")
    assert run.state.status is RunStatus.SUCCEEDED


# --- ends ---------------------------------------------------------------------------------------------------------


def test_the_planning_task_goes_after_its_plan_when_the_run_is_cancelled() -> None:
    run = run_of({"p": {}})
    run.lay("p", FORK)
    run.complete("p/a")
    run.suspend("p/b", signal("go"))
    run.do(c.CancelRun())
    assert run.open == ["p", "p/c"], "what may be running has its grace, and so has what waits for it"
    run.do(c.AbandonTask(path="p/c"))
    assert run.state.status is RunStatus.CANCELLED


def test_a_planning_task_that_is_withdrawn_takes_its_plan_along() -> None:
    run = run_of({"s": {"next_node": ["p", "x"]}, "p": {}, "x": {"cancels": ["p"]}})
    run.complete("s")
    run.lay("p", plan_of({"q": {"next_node": "b"}, "b": {}}))
    run.lay("p/q", FORK)
    run.complete("x")
    assert run.state.status is RunStatus.SUCCEEDED
    assert [event.path for event in run.events if isinstance(event, e.TaskCancelled)] == ["p/q/a", "p/q", "p"]
    assert not run.state.plans


def test_what_a_plan_did_is_taken_back_newest_first_after_the_task_that_laid_it() -> None:
    run = run_of({"p": {"next_node": "end", "compensate": "u"}, "end": {}, "u": {}})
    undone = {"compensate": "v"}
    run.lay(
        "p",
        plan_of({"a": {"next_node": "b", **undone}, "b": undone, "v": {"params": {"x": "{{ nodes.a }}"}}}),
    )
    run.complete("p/a")
    run.complete("p/b")
    run.fail("end")
    taken: list[str | None] = []
    while run.state.status.live:
        (path,) = run.open
        taken.append(run.state.tasks[path].compensates)
        run.complete(path)
    assert taken == ["p", "p/b", "p/a"]


def test_a_plan_names_its_waker_as_long_as_something_in_it_is_open() -> None:
    run = run_of({"p": {}})
    run.lay("p", PAIR)
    assert {(waker.kind, waker.path) for waker in wakers_of(run.state)} == {("plan", "p"), ("queue", "p/a")}


def test_a_for_each_in_a_plan_is_a_task_of_it() -> None:
    run = run_of({"p": {"next_node": "end"}, "end": {}})
    run.lay("p", plan_of({"each": {"for_each": "{{ input }}", "max_parallel": 1}}))
    run.do(c.StartItems(path="p/each", chunks=(ItemChunk(payload=payload([1, 2]), count=2),)))
    run.complete("p/each[0]")
    assert run.open == ["p", "p/each", "p/each[1]"]
    run.complete("p/each[1]")
    assert run.open == ["end"]
    assert run.state.payload("p").listed is not None, "the list is handed on by reference"


# --- forks --------------------------------------------------------------------------------------------------------


def begun() -> World:
    run = run_of({"p": {"next_node": "end"}, "end": {}})
    run.lay("p", FORK)
    run.complete("p/a")
    run.complete("p/b")
    return run


def test_a_fork_within_a_plan_goes_on_in_it() -> None:
    fork = begun().fork()
    assert fork.open == ["p", "p/c"]
    fork.complete("p/c")
    fork.complete("p", "both")
    assert fork.open == ["end"]


def test_a_fork_may_complete_a_task_in_a_plan_or_the_whole_of_it() -> None:
    inner = begun().fork(patches={"p/c": c.TaskPatch(output=payload("given"))})
    assert inner.state.tasks["p"].reads.nodes == {"b": "p/b", "c": "p/c"}
    whole = begun().fork(patches={"p": c.TaskPatch(output=payload("given"))})
    assert whole.open == ["end"]
    assert whole.previous("end") == "given"
    assert not whole.state.plans


def test_a_fork_cant_complete_a_plan_and_a_task_in_it() -> None:
    patches = {path: c.TaskPatch(output=payload("given")) for path in ("p", "p/c")}
    with pytest.raises(Conflict) as refusal:
        begun().fork(patches=patches)
    assert refusal.value.reason == "fork_patch"


def test_a_fork_replaces_what_a_plan_has_given_so_far() -> None:
    fork = begun().fork(patches={"p/b": c.TaskPatch(output=payload("other"))})
    assert value_of(fork.state.payload("p/b")) == "other"
