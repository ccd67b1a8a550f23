"""Definitions: what the kernel and the worker look up."""

from typing import Any

import pytest

from orchestrator.errors import DefinitionError, LimitExceeded
from orchestrator.model.checks import check
from orchestrator.model.declarations import ClassDeclaration, Effect, find_class
from orchestrator.model.definition import Definition, compile_definition
from orchestrator.model.document import WorkflowDocument
from orchestrator.model.graph import EdgeKind
from tests.unit.model.samples import KNOWN, ONBOARDING, workflow

SECOND = 1_000_000


def compiled(document: dict[str, Any]) -> Definition:
    report = check(document, KNOWN)
    assert report.faults == ()
    assert report.definition is not None
    return report.definition


def test_the_defaults_are_those_of_the_design() -> None:
    definition = compiled(workflow({"a": {"next_node": "b"}, "b": {"class": "Pay"}}))
    retry = definition.nodes["a"].retry
    assert (retry.max_attempts, retry.initial_us, retry.multiplier) == (3, SECOND, 2.0)
    assert (retry.max_interval_us, retry.jitter, retry.retry_on, retry.never_on) == (60 * SECOND, 0.2, (), ())
    assert definition.nodes["b"].retry.max_attempts == 1
    assert definition.nodes["b"].effect is Effect.IRREVERSIBLE
    assert definition.nodes["a"].timeout_us == 3600 * SECOND
    year_us = 366 * 24 * 3600 * SECOND
    assert definition.budget == {"tasks": 1_000_000, "duration": year_us, "tokens": None, "cost_usd": None}
    assert definition.budget_pauses == {"tokens", "cost_usd"}
    assert definition.output is None


def test_what_is_written_wins() -> None:
    node = {
        "class": "Pay",
        "timeout": "5m",
        "retry": {
            "max_attempts": 5,
            "initial": "250ms",
            "max_interval": 2,
            "multiplier": 3,
            "retry_on": ["E", "E"],
        },
        "when": "input.go",
        "params": {"x": "{{ vars.v }}"},
    }
    definition = compiled(
        workflow({"a": node}, budget={"tasks": 9, "duration": "1h"}, vars={"v": 1}, output=None)
    )
    pay = definition.nodes["a"]
    assert pay.timeout_us == 300 * SECOND
    assert (pay.retry.max_attempts, pay.retry.initial_us, pay.retry.max_interval_us) == (
        5,
        250_000,
        2 * SECOND,
    )
    assert (pay.retry.multiplier, pay.retry.retry_on) == (3.0, ("E",))
    assert pay.when is not None
    assert pay.references.input
    assert pay.references.variables == {"v"}
    assert (definition.budget["tasks"], definition.budget["duration"]) == (9, 3600 * SECOND)
    assert definition.variables.evaluate({}) == {"v": 1}
    assert definition.output is not None
    assert definition.output.evaluate({}) is None


def test_the_three_forms_of_next_node() -> None:
    nodes = {
        "a": {"next_node": "b"},
        "b": {"next_node": ["c", "d"]},
        "c": {"class": "If", "next_node": {"true": "d", "false": ["d", "e"], "*": "e"}},
        "d": {},
        "e": {},
    }
    found = compiled(workflow(nodes)).nodes
    assert (found["a"].next, found["a"].labels, found["a"].decides, found["a"].allowed) == (
        ("b",),
        None,
        False,
        (),
    )
    assert found["b"].next == ("c", "d")
    assert found["c"].next == ()
    assert found["c"].labels == {"true": ("d",), "false": ("d", "e"), "*": ("e",)}
    assert found["c"].allowed == ("true", "false", "*")
    assert found["c"].decides
    assert found["d"].is_join
    assert not found["e"].is_join


def test_routes_come_from_the_node_else_its_class_else_what_is_left_over() -> None:
    nodes: dict[str, Any] = {
        "step_start": {"class": "RouteUserByType"},
        "step_escalate": {},
        "step_standard_process": {"class": "Choose", "routes": ["step_escalate", "over"]},
        "over": {},
    }
    found = compiled(workflow(nodes)).nodes
    assert found["step_start"].allowed == ("step_escalate", "step_standard_process")
    assert found["step_standard_process"].allowed == ("step_escalate", "over")


def test_any_node_means_every_node_but_those_for_errors_only() -> None:
    nodes: dict[str, Any] = {
        "a": {"next_node": "agent", "on_error": "help"},
        "agent": {"class": "Agent", "next_node": "b"},
        "b": {"on_error": {"Timeout": "help"}},
        "help": {},
    }
    definition = compiled(workflow(nodes))
    assert definition.nodes["agent"].allowed == ("a", "agent", "b")
    assert definition.nodes["agent"].next == ("b",)
    assert definition.nodes["b"].on_error == {"Timeout": "help"}
    assert definition.nodes["a"].on_error == {"*": "help"}
    assert {e.kind for e in definition.graph.edges if e.target == "help"} == {EdgeKind.ERROR}
    assert not definition.nodes["help"].is_join


def test_the_onboarding_joins_where_its_arms_meet() -> None:
    definition = compiled(ONBOARDING)
    assert [node.id for node in definition.nodes.values() if node.is_join] == ["step_send_email"]
    assert [node.order for node in definition.nodes.values()] == list(range(7))
    assert definition.graph.feeders("step_send_email") >= {"step_escalate", "step_standard_process"}


def test_a_document_that_was_not_checked_makes_a_definition_or_a_definition_error() -> None:
    written = workflow(
        {"a": {"next_node": ["b", "gone"], "on_error": "gone"}, "b": {"class": "Choose", "routes": ["gone"]}}
    )
    definition = compile_definition(WorkflowDocument.model_validate(written), KNOWN)
    assert definition.nodes["a"].next == ("b",)
    assert definition.nodes["a"].on_error == {}
    assert definition.nodes["b"].allowed == ()
    broken = workflow({"a": {"class": "Gone"}, "b": {"params": {"x": "{{ 1 +"}, "when": "("}})
    with pytest.raises(DefinitionError) as caught:
        compile_definition(WorkflowDocument.model_validate(broken), KNOWN)
    assert [fault.pointer for fault in caught.value.faults] == [
        "/nodes/a/class",
        "/nodes/b/params/x",
        "/nodes/b/when",
    ]
    with pytest.raises(LimitExceeded, match="edges between nodes"):
        compile_definition(
            WorkflowDocument.model_validate(workflow({f"n{n}": {"class": "Agent"} for n in range(600)})),
            KNOWN,
        )


def test_an_exact_name_of_a_class_wins() -> None:
    known = {name: ClassDeclaration(name=name) for name in ("Foo", "FooNode", "Bar", "BazNode", "Node")}
    assert [
        getattr(find_class(name, known), "name", None) for name in ("Foo", "FooNode", "BarNode", "Baz", "Qux")
    ] == [
        "Foo",
        "FooNode",
        "Bar",
        "BazNode",
        None,
    ]


def test_effects_have_an_order() -> None:
    assert sorted(set(Effect), key=lambda effect: effect.rank) == list(Effect)
