"""The flow nodes: what they decide, what they wait for, what they pass on."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from orchestrator.nodes import (
    EndNode,
    IfNode,
    StartNode,
    StopNode,
    SubWorkflowNode,
    SwitchNode,
    WaitNode,
)
from orchestrator.sdk import (
    BaseNode,
    ChildFailed,
    Effect,
    InvalidParams,
    PermanentFailure,
    Route,
    SignalTimeout,
    Stop,
)
from tests.unit.sdk.fake_context import FakeContext

EMPTY: list[Any] = []


async def run(
    node: type[BaseNode], params: Mapping[str, Any] | None = None, **given: Any
) -> tuple[Any, FakeContext]:
    """What the node returns, and the context after it."""
    given.setdefault("params_written", params or {})
    ctx = FakeContext(**given)
    return await node().execute(node.parse_params(params or {}), ctx), ctx


@pytest.mark.parametrize(("given", "output"), [({"a": 1}, {"a": 1}), (None, {}), ([1], [1]), (0, 0)])
async def test_start_gives_the_runs_input(given: Any, output: Any) -> None:
    assert (await run(StartNode, input=given))[0] == output


async def test_end_passes_on_what_led_here() -> None:
    assert (await run(EndNode, previous={"a": 1}))[0] == {"a": 1}


@pytest.mark.parametrize(
    ("conditions", "answer"),
    [((True, 2, [0], "true", {"a": 0}), "true"), ((False, None, 0, "", " False ", EMPTY), "false")],
)
async def test_if_answers_true_or_false(conditions: tuple[Any, ...], answer: str) -> None:
    for condition in conditions:
        route, _ = await run(IfNode, {"condition": condition}, previous=7)
        assert route == Route(answer, output=7, reason=f"condition is {answer}", by="rule")


async def test_if_names_its_condition() -> None:
    route, _ = await run(
        IfNode, {"condition": True}, params_written={"condition": "{{ input.amount > 100 }}"}
    )
    assert route.reason == "input.amount > 100 is true"


async def test_if_refuses_a_text_that_is_no_answer() -> None:
    with pytest.raises(PermanentFailure, match="True and False"):
        await run(IfNode, {"condition": "True and False"})


async def test_switch_takes_the_first_case_with_the_value() -> None:
    params = {"value": "b", "cases": {"first": "a", "second": "b", "third": "b"}}
    route, _ = await run(SwitchNode, params, previous=7)
    assert route == Route("second", output=7, reason='value is "b"', by="rule")


@pytest.mark.parametrize(
    ("value", "case"), [(1, "one"), (True, "yes"), (1.0, "one"), ({"b": [1], "a": 2}, "map")]
)
async def test_switch_compares_as_json_does(value: Any, case: str) -> None:
    cases = {"yes": True, "one": 1, "map": {"a": 2, "b": [1]}}
    assert (await run(SwitchNode, {"value": value, "cases": cases}))[0].targets == (case,)


async def test_switch_takes_the_first_case_that_holds() -> None:
    written = {
        "cases": [
            {"name": "low", "when": "{{ input.n < 5 }}"},
            {"name": "high", "when": "{{ input.n >= 5 }}"},
        ]
    }
    params = {"cases": [{"name": "low", "when": False}, {"name": "high", "when": True}]}
    route, _ = await run(SwitchNode, params, params_written=written)
    assert (route.targets, route.reason) == (("high",), "input.n >= 5 is true")


async def test_switch_survives_cases_that_are_an_expression() -> None:
    params = {"cases": [{"name": "low", "when": True}]}
    route, _ = await run(SwitchNode, params, params_written={"cases": "{{ vars.cases }}"})
    assert route.reason == "the case 'low' is true"


async def test_switch_takes_the_rest_if_there_is_one() -> None:
    params = {"value": "x", "cases": {"a": 1, "b": 2}}
    route, _ = await run(SwitchNode, params, previous=7, allowed_routes=("a", "b", "*"))
    assert (route.targets, route.output) == (("*",), 7)
    assert route.reason == 'value is "x", which is none of the cases `a` and `b`'


async def test_switch_does_not_decide_if_nothing_fits_and_there_is_no_rest() -> None:
    output, ctx = await run(SwitchNode, {"value": 1, "cases": {"a": 2}}, previous=7, allowed_routes=("a",))
    assert output == 7
    assert ctx.logged == [
        ("warning", "value is 1, which is none of the cases `a`, and there is no `*` for the rest")
    ]


@pytest.mark.parametrize("cases", [{}, [], [{"name": "a"}], [{"name": "", "when": True}], "a", None])
def test_switch_needs_cases(cases: Any) -> None:
    with pytest.raises(InvalidParams):
        SwitchNode.parse_params({"cases": cases})


async def test_a_wait_for_a_time_passes_on_what_led_here() -> None:
    output, ctx = await run(WaitNode, {"for": "1m30s"}, previous=7)
    assert (output, ctx.slept) == (7, [90.0])


async def test_a_wait_until_a_time_keeps_its_zone() -> None:
    output, ctx = await run(WaitNode, {"until": "2026-12-24T18:00:00+01:00"}, previous=7)
    assert (output, ctx.slept) == (7, [datetime(2026, 12, 24, 17, tzinfo=UTC)])


async def test_a_wait_for_a_signal_gives_its_payload() -> None:
    output, ctx = await run(
        WaitNode, {"signal": "go", "timeout": "2d"}, signals={"go": [{"ok": True}]}, previous=7
    )
    assert (output, ctx.waited_for) == ({"ok": True}, [("go", 172800.0)])


async def test_a_signal_that_does_not_come_is_an_error_of_its_own() -> None:
    with pytest.raises(SignalTimeout, match=r"'go' did not come within 5 s") as caught:
        await run(WaitNode, {"signal": "go", "timeout": 5})
    assert (caught.value.code, caught.value.retryable) == ("signal_timeout", False)
    assert isinstance(caught.value, TimeoutError)


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({}, "exactly one"),
        ({"for": 1, "signal": "x"}, "`for` and `signal`"),
        ({"for": 1, "timeout": 1}, "belongs to `signal`"),
        ({"until": "2026-12-24T18:00:00"}, "timezone"),
        ({"for": "soon"}, "a duration is"),
        ({"signal": ""}, "at least 1"),
        ({"for_": 1}, "there is no `for_`"),
    ],
)
def test_a_wait_says_what_is_wrong_with_its_params(params: Mapping[str, Any], said: str) -> None:
    with pytest.raises(InvalidParams, match=said):
        WaitNode.parse_params(params)


async def test_stop_ends_the_run_with_what_led_here_or_what_it_is_given() -> None:
    assert (await run(StopNode, previous=7))[0] == Stop(succeed=True, output=7)
    params = {"succeed": False, "message": "no stock", "output": None}
    assert (await run(StopNode, params, previous=7))[0] == Stop(
        succeed=False, message="no stock", output=None
    )


async def test_a_sub_workflow_gets_what_led_here_or_what_it_is_given() -> None:
    output, ctx = await run(
        SubWorkflowNode, {"workflow": "ship"}, previous={"order": 1}, children={"ship": "done"}
    )
    assert (output, ctx.started) == ("done", [("ship", {"order": 1}, None)])
    params = {"workflow": "ship", "input": None, "version": 3}
    output, ctx = await run(SubWorkflowNode, params, previous=7, children={"ship": "done"})
    assert ctx.started == [("ship", None, 3)]


async def test_a_failed_child_fails_the_node_with_its_error() -> None:
    error = {"type": "permanent_failure", "message": "no stock"}
    with pytest.raises(ChildFailed, match="permanent_failure: no stock"):
        await run(
            SubWorkflowNode,
            {"workflow": "ship"},
            children={"ship": ChildFailed("ship", run_id="r", error=error)},
        )


@pytest.mark.parametrize(
    ("node", "effect", "routes"),
    [
        (StartNode, Effect.PURE, None),
        (EndNode, Effect.PURE, None),
        (IfNode, Effect.PURE, ("true", "false")),
        (SwitchNode, Effect.PURE, ("*",)),
        (WaitNode, Effect.READ, None),
        (StopNode, Effect.PURE, None),
        (SubWorkflowNode, Effect.WRITE, None),
    ],
)
def test_flow_nodes_declare_what_they_do(
    node: type[BaseNode], effect: Effect, routes: tuple[str, ...] | None
) -> None:
    made = node.declaration()
    assert (made.effect, made.routes, made.family) == (effect, routes, "flow")
    assert made.icon
    assert made.summary


async def test_a_switch_may_take_every_case_that_fits() -> None:
    cases = [{"name": "a", "when": True}, {"name": "b", "when": False}, {"name": "c", "when": True}]
    route, _ = await run(SwitchNode, {"cases": cases, "every": True}, previous=7)
    assert (route.targets, route.output) == (("a", "c"), 7)
    route, _ = await run(SwitchNode, {"value": 1, "cases": {"a": 1, "b": 1.0, "c": 2}, "every": True})
    assert route.targets == ("a", "b")


def test_fresh_belongs_to_a_signal() -> None:
    with pytest.raises(InvalidParams, match="belongs to `signal`"):
        WaitNode.parse_params({"for": 1, "fresh": True})
