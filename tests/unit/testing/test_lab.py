"""The lab: time passes only as far as it is let, stand-ins answer, and what failed tells its story."""

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator import BaseNode, Context, Effect, PermanentFailure, RetryLater, Route
from orchestrator.errors import DefinitionError, NotFound, UsageError
from orchestrator.testing import Lab, NoInputOutput, Stalled, in_lab
from orchestrator.testing.clock import VirtualLoop, run_virtual

EXAMPLES = Path(__file__).parents[3] / "examples"


def flow(*, name: str = "flow", **nodes: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": name, "start_at": next(iter(nodes)), "nodes": nodes}


WAIT: dict[str, Any] = {"class": "Wait", "params": {"for": "30d"}}


class BankNode(BaseNode):
    """Talks to the bank."""

    effect = Effect.IRREVERSIBLE

    async def execute(self, params: Any, ctx: Context) -> Any:
        raise AssertionError("a test talked to the bank")


class BranchNode(BaseNode):
    """Chooses."""

    routes = ("left", "right")

    def execute(self, params: Any, ctx: Context) -> Route:
        return Route("left")


BRANCH = flow(choose={"class": "Branch"}, left={"class": "End"}, right={"class": "End"})


# --------------------------------------------------------------------------------------------------------------- time


async def test_months_pass_at_once_and_timers_fire_at_their_time(workflow_lab: Lab) -> None:
    began, really = workflow_lab.now, time.monotonic()
    run = await workflow_lab.start(flow(a={**WAIT, "next_node": "b"}, b={"class": "Set"}))
    run.assert_waiting("until")
    await workflow_lab.advance(timedelta(days=29, hours=23))
    assert (run.status, workflow_lab.now - began) == ("waiting", timedelta(days=29, hours=23))
    await workflow_lab.advance("1h")
    run.assert_succeeded()
    assert workflow_lab.now - began == timedelta(days=30)
    assert time.monotonic() - really < 20


async def test_time_stands_still_while_nobody_lets_it_pass(workflow_lab: Lab) -> None:
    began = workflow_lab.now
    await workflow_lab.start(flow(a=WAIT))
    await workflow_lab.idle()
    assert workflow_lab.now == began


async def test_what_a_nodes_code_takes_passes_by_itself(workflow_lab: Lab) -> None:
    @workflow_lab.register
    async def Slow() -> int:  # noqa: N802  (the name of a class)
        await asyncio.sleep(90)
        return 1

    began = workflow_lab.now
    run = await workflow_lab.start(flow(a={"class": "Slow"}))
    run.assert_succeeded(1)
    assert workflow_lab.now - began == timedelta(seconds=90)


async def test_plain_code_runs_in_a_thread_and_time_stands_still(workflow_lab: Lab) -> None:
    @workflow_lab.register
    def Plain() -> int:  # noqa: N802
        time.sleep(0.05)
        return 1

    began = workflow_lab.now
    run = await workflow_lab.run(flow(a={"class": "Plain"}))
    run.assert_succeeded(1)
    assert workflow_lab.now == began


async def test_a_run_that_waits_for_a_person_fails_the_test_and_says_for_what(workflow_lab: Lab) -> None:
    with pytest.raises(AssertionError) as failed:
        await workflow_lab.run(flow(a={"class": "Wait", "params": {"signal": "go"}}))
    assert "signal `go`" in str(failed.value)
    assert "a waits for signal `go`" in str(failed.value), "the story is missing"


async def test_a_run_that_takes_longer_than_it_may_fails_the_test(workflow_lab: Lab) -> None:
    with pytest.raises(AssertionError, match=r"it doesn't end: .*until"):
        await workflow_lab.run(flow(a=WAIT), within="29d")


async def test_retries_wait_for_their_time(workflow_lab: Lab) -> None:
    workflow_lab.stand_in("Set", answers=[RetryLater(delay_seconds=3600), {"x": 1}])
    run = await workflow_lab.start(flow(a={"class": "Set"}))
    await workflow_lab.advance("59m")
    assert run.status != "succeeded"
    await workflow_lab.advance("1m")
    run.assert_succeeded({"x": 1})


async def test_a_paused_run_stays_where_it_is(workflow_lab: Lab) -> None:
    run = await workflow_lab.start(flow(a=WAIT))
    await run.pause()
    await workflow_lab.advance("60d")
    assert run.status == "paused"
    await run.resume()
    run.assert_succeeded()


async def test_moments(workflow_lab: Lab) -> None:
    await workflow_lab.advance_to(datetime(2030, 1, 1, tzinfo=UTC))
    assert workflow_lab.now == datetime(2030, 1, 1, tzinfo=UTC)
    with pytest.raises(UsageError, match="it is 2030"):
        await workflow_lab.advance_to(datetime(2029, 1, 1, tzinfo=UTC))
    with pytest.raises(UsageError, match="no time zone"):
        await workflow_lab.advance_to(datetime(2031, 1, 1))  # noqa: DTZ001  (that is what is refused)


async def test_what_needs_the_network_is_refused_in_words(workflow_lab: Lab) -> None:
    @workflow_lab.register
    async def Net() -> None:  # noqa: N802
        await asyncio.open_connection("127.0.0.1", 9)

    run = await workflow_lab.run(flow(a={"class": "Net"}))
    run.assert_failed(NoInputOutput.__name__, path="a", message="stand-in")


def test_a_test_that_awaits_what_never_comes_says_so() -> None:
    async def never(loop: VirtualLoop) -> None:
        await loop.create_future()

    with pytest.raises(Stalled, match="nothing is ready"):
        run_virtual(never)


def test_two_labs_with_one_seed_tell_one_story() -> None:
    async def flaky(lab: Lab) -> list[str]:
        lab.stand_in("Set", answers=[ValueError("x"), ValueError("y"), 1])
        run = await lab.run(flow(a={"class": "Set"}))
        return [event.at for event in run.events]

    assert in_lab(flaky, seed=7) == in_lab(flaky, seed=7)
    assert in_lab(flaky, seed=7) != in_lab(flaky, seed=8)


# ---------------------------------------------------------------------------------------------------------- stand-ins


async def test_a_stand_in_is_held_to_what_the_class_says(workflow_lab: Lab) -> None:
    workflow_lab.register(BranchNode)
    workflow_lab.stand_in("Branch", answers=[Route("right"), Route("nowhere")])
    run = await workflow_lab.run(BRANCH)
    run.assert_succeeded().assert_decided("choose", "right").assert_not_visited("left")
    run = await workflow_lab.run(BRANCH)
    run.assert_failed("route_not_allowed", path="choose", message="left")


async def test_a_stand_in_for_a_class_whose_code_is_plain(workflow_lab: Lab) -> None:
    workflow_lab.register(BranchNode)
    workflow_lab.stand_in(node="left", returns="stood in")
    run = await workflow_lab.run(BRANCH)
    run.assert_decided("choose", "left")
    assert run.outputs["left"] == "stood in"


async def test_params_of_a_stand_in_are_those_of_the_class(workflow_lab: Lab) -> None:
    stand_in = workflow_lab.stand_in("Wait", returns=None)
    run = await workflow_lab.run(
        flow(a={"class": "Wait", "params": {"for": "{{ input.days }}d"}}), input={"days": 2}
    )
    run.assert_succeeded()
    assert (stand_in.count, stand_in.calls[0].path, stand_in.calls[0].input) == (1, "a", {"days": 2})
    assert stand_in.calls[0].params.model_dump(by_alias=True)["for"] == 2 * 86400
    run = await workflow_lab.run(
        flow(a={"class": "Wait", "params": {"for": "{{ input.days }}d"}}), input={"days": "x"}
    )
    run.assert_failed("invalid_params")


async def test_an_irreversible_stand_in_leaves_its_task_in_doubt(workflow_lab: Lab) -> None:
    workflow_lab.register(BankNode)
    workflow_lab.stand_in("Bank", raises=ConnectionError("cut off"))
    run = await workflow_lab.start(flow(a={"class": "Bank"}))
    run.assert_waiting("cut off")
    await run.resolve("a", "done", output={"paid": True})
    run.assert_succeeded({"paid": True})


async def test_one_for_a_node_comes_before_one_for_its_class(workflow_lab: Lab) -> None:
    workflow_lab.stand_in("Set", returns="class")
    workflow_lab.stand_in(node="b", returns="node")
    workflow_lab.stand_in(node="c", workflow="other", returns="other")
    nodes = {
        "a": {"class": "Set", "next_node": "b"},
        "b": {"class": "Set", "next_node": "c"},
        "c": {"class": "Set"},
    }
    run = await workflow_lab.run({"name": "flow", "start_at": "a", "nodes": nodes})
    assert run.outputs == {"a": "class", "b": "node", "c": "class"}


async def test_a_call_too_many_says_how_many_answers_there_were(workflow_lab: Lab) -> None:
    workflow_lab.stand_in("Set", answers=[1])
    nodes = {"a": {"class": "Set", "next_node": "b"}, "b": {"class": "Set"}}
    run = await workflow_lab.run({"name": "flow", "start_at": "a", "nodes": nodes})
    run.assert_failed("permanent_failure", path="b", message="has 1 answers, and this is call 2")


async def test_functions_may_use_the_context(workflow_lab: Lab) -> None:
    async def work(params: Any, ctx: Context) -> Any:
        def twice(value: int) -> int:
            return value * 2

        return await ctx.step("twice", twice, ctx.input)

    workflow_lab.stand_in("Set", does=work)
    run = await workflow_lab.run(flow(a={"class": "Set"}), input=21)
    run.assert_succeeded(42)
    assert [(step.path, step.name, step.result) for step in run.steps] == [("a", "twice", 42)]


async def test_mistakes_with_stand_ins_are_said(workflow_lab: Lab) -> None:
    with pytest.raises(NotFound, match="SetNode"):
        workflow_lab.stand_in("Sett", returns=1)
    with pytest.raises(UsageError, match="exactly one way"):
        workflow_lab.stand_in("Set")
    with pytest.raises(UsageError, match="`returns=`, `raises=`"):
        workflow_lab.stand_in("Set", returns=1, raises=ValueError())
    with pytest.raises(UsageError, match="is for a class"):
        workflow_lab.stand_in(returns=1)
    with pytest.raises(UsageError, match="at least one answer"):
        workflow_lab.stand_in("Set", answers=[])
    workflow_lab.stand_in(node="aa", workflow="flow", returns=1)
    with pytest.raises(UsageError, match="did you mean `a`"):
        await workflow_lab.run(flow(a={"class": "Set"}))


# --------------------------------------------------------------------------------------------------------------- runs


async def test_what_a_run_tells(workflow_lab: Lab) -> None:
    run = await workflow_lab.run(EXAMPLES / "loop.json", input={"at_home_on": 3, "attempts": 5})
    run.assert_succeeded({"attempt": 3, "opened": True}).assert_visited("what_now", what_now=3)
    assert [decision.chosen for decision in run.decisions] == [("*",), ("*",), ("delivered",)]
    assert "what_now@3 chose" in run.story
    assert run.path[-1] == list(run.outputs)[-1]


async def test_children_and_their_parent(workflow_lab: Lab) -> None:
    await workflow_lab.save(flow(name="child", a=WAIT))
    parent = flow(name="parent", a={"class": "SubWorkflow", "params": {"workflow": "child"}})
    run = await workflow_lab.run(parent)
    run.assert_succeeded()
    (child,) = await workflow_lab.child_runs(run)
    child.assert_succeeded().assert_visited("a")


async def test_a_failed_run_is_retried_and_a_waiting_one_cancelled(workflow_lab: Lab) -> None:
    workflow_lab.stand_in("Set", answers=[PermanentFailure("no"), "yes"])
    run = await workflow_lab.run(flow(a={"class": "Set"}))
    run.assert_failed("permanent_failure", path="a", message="no")
    await run.retry()
    run.assert_succeeded("yes")
    waiting = await workflow_lab.start(flow(name="other", a=WAIT))
    await waiting.cancel("enough")
    waiting.assert_cancelled()
    assert workflow_lab.runs == [run, waiting]


async def test_assertions_that_fail_say_what_is_and_tell_the_story(workflow_lab: Lab) -> None:
    run = await workflow_lab.run(flow(a={"class": "Set", "params": {"values": {"x": 1}}}))
    failing: list[tuple[Any, str]] = [
        (lambda: run.assert_failed(), "should have failed, and is succeeded"),
        (lambda: run.assert_succeeded({"x": 2}), 'should be {"x":2}, and is {"x":1}'),
        (lambda: run.assert_cancelled(), "should have been cancelled"),
        (lambda: run.assert_waiting(), "should wait"),
        (lambda: run.assert_visited("b"), "`b` should have run, and did not; these ran: `a`"),
        (lambda: run.assert_visited(a=2), "2 times, and ran 1"),
        (lambda: run.assert_not_visited("a"), "`a` should not have run"),
        (lambda: run.assert_decided("a", "x"), "`a` should have decided"),
    ]
    for check, words in failing:
        with pytest.raises(AssertionError) as failed:
            check()
        assert words in str(failed.value)
        assert "a completed" in str(failed.value)


async def test_a_document_with_faults_lists_them_all(workflow_lab: Lab) -> None:
    with pytest.raises(DefinitionError) as refused:
        await workflow_lab.run(flow(a={"class": "Sett", "next_node": "b"}))
    assert {fault.pointer for fault in refused.value.faults} >= {"/nodes/a/class", "/nodes/a/next_node"}


async def test_a_saved_workflow_is_started_by_name(workflow_lab: Lab) -> None:
    await workflow_lab.save('{"name": "saved one", "start_at": "a", "nodes": {"a": {"class": "Start"}}}')
    run = await workflow_lab.run("saved one", input=[1])
    run.assert_succeeded([1])
    with pytest.raises(NotFound, match="saved one"):
        await workflow_lab.run("saved on")
