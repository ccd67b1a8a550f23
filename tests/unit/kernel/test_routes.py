"""DESIGN section 2, `next_node` and `routes`: where a deciding node may lead, and what is refused."""

import pytest

from orchestrator.kernel import commands as c
from orchestrator.kernel import events as e
from orchestrator.kernel.status import RunStatus
from tests.unit.kernel.world import World, run_of


def failure(run: World) -> str:
    assert run.state.status is RunStatus.FAILED
    assert run.state.error is not None
    assert run.state.error.type == "route_not_allowed"
    return run.state.error.message


AGENT = {"agent": {"class": "Choose", "routes": ["x", "y"]}, "x": {}, "y": {}}
SWITCH = {"switch": {"next_node": {"one": "x", "both": ["x", "y"], "*": "y"}}, "x": {}, "y": {}}


def test_a_decision_records_what_was_chosen_what_was_allowed_and_why() -> None:
    run = run_of(AGENT)
    run.complete("agent", route=["y"])
    decision = run.last(e.DecisionMade)
    assert [chosen.node for chosen in decision.chosen] == ["y"]
    assert decision.allowed == ["x", "y"]
    assert (decision.reason, decision.by) == ("because", "function")
    assert run.open == ["y"]


def test_a_decision_stands_before_the_completion_of_its_task_in_one_group() -> None:
    run = run_of(AGENT)
    events = run.complete("agent", route=["y"])
    assert [event.kind for event in events] == ["decision_made", "task_completed", "task_scheduled"]


def test_a_decision_may_name_several_nodes() -> None:
    run = run_of(AGENT)
    run.complete("agent", route=["y", "x", "y"])
    assert run.open == ["y", "x"]


def test_where_next_node_is_a_map_a_route_names_a_label() -> None:
    run = run_of(SWITCH)
    run.complete("switch", route=["one"])
    assert run.open == ["x"]
    assert [(chosen.node, chosen.label) for chosen in run.last(e.DecisionMade).chosen] == [("x", "one")]


def test_a_label_may_lead_to_a_list_of_nodes() -> None:
    run = run_of(SWITCH)
    run.complete("switch", route=["both"])
    assert run.open == ["x", "y"]


def test_a_label_that_the_map_does_not_name_takes_the_rest() -> None:
    run = run_of(SWITCH)
    run.complete("switch", route=["anything"])
    assert run.open == ["y"]


def test_a_node_with_a_map_that_does_not_decide_takes_the_rest() -> None:
    run = run_of(SWITCH)
    run.complete("switch")
    assert run.open == ["y"]
    assert not any(isinstance(event, e.DecisionMade) for event in run.events)


def test_a_node_with_a_map_without_a_rest_that_does_not_decide_fails_with_the_labels() -> None:
    run = run_of({"switch": {"next_node": {"one": "x", "two": "x"}}, "x": {}})
    run.complete("switch")
    assert failure(run) == "`Plain` chose no route; allowed: `one`, `two`"


def test_a_route_to_a_label_that_is_not_there_fails_with_the_labels() -> None:
    run = run_of({"switch": {"next_node": {"one": "x", "two": "x"}}, "x": {}})
    run.complete("switch", route=["three"])
    assert failure(run) == "`three` is no label of `switch`; allowed: `one`, `two`"


def test_a_route_to_a_node_that_is_not_allowed_fails_with_the_list() -> None:
    run = run_of({**AGENT, "z": {}})
    run.complete("agent", route=["z"])
    assert failure(run) == "`z` is no route of `agent`; allowed: `x`, `y`"
    assert not any(isinstance(event, e.DecisionMade | e.TaskCompleted) for event in run.events)


def test_a_route_that_is_not_allowed_is_never_tried_again_but_may_be_handled() -> None:
    run = run_of({"agent": {**AGENT["agent"], "on_error": {"route_not_allowed": "x"}}, "x": {}, "y": {}})
    run.complete("agent", route=["nowhere"])
    assert run.open == ["x"]


def test_a_deciding_node_that_does_not_decide_takes_its_next_node() -> None:
    run = run_of({"agent": {**AGENT["agent"], "next_node": "y"}, "x": {}, "y": {}})
    run.complete("agent")
    assert run.open == ["y"]


def test_a_deciding_node_that_does_not_decide_and_has_no_next_node_fails() -> None:
    run = run_of(AGENT)
    run.complete("agent")
    assert failure(run) == "`Choose` chose no route; allowed: `x`, `y`"


def test_a_route_of_a_node_that_does_not_decide_fails_and_says_what_to_declare() -> None:
    run = run_of({"a": {"next_node": "b"}, "b": {}})
    run.complete("a", route=["b"])
    assert "declare `routes` in the class" in failure(run)


@pytest.mark.parametrize("nodes", [AGENT, SWITCH])
def test_route_end_ends_its_path_and_is_recorded(nodes: dict[str, dict[str, object]]) -> None:
    run = run_of(nodes)
    run.complete(next(iter(nodes)), route=[])
    assert run.last(e.DecisionMade).chosen == []
    assert run.state.status is RunStatus.SUCCEEDED


def test_an_agent_with_any_route_may_go_back_to_itself() -> None:
    run = run_of({"agent": {"class": "Agent"}, "x": {}})
    run.complete("agent", route=["agent"])
    assert run.open == ["agent@2"]


def test_an_irreversible_task_that_ends_with_a_wrong_route_is_in_doubt_with_its_result() -> None:
    """Found by reading: it failed, so a retry of the run did the irreversible thing again."""
    run = run_of({"pay": {"class": "Pay", "next_node": {"paid": "x"}}, "x": {}})
    run.do(c.StartTask(path="pay"))
    run.complete("pay", "receipt", route=["nowhere"])
    assert run.state.tasks["pay"].doubt is not None
    assert run.last(e.TaskInDoubt).late is not None
