"""A plan is checked as a workflow is, and has no more rights than the node that lays it."""

from typing import Any

import msgspec
import pytest

from orchestrator.errors import Fault
from orchestrator.model.checks import check
from orchestrator.model.declarations import ClassDeclaration, Effect
from orchestrator.model.definition import compile_definition
from orchestrator.model.document import WorkflowDocument
from orchestrator.model.grafts import PlanRecord, compile_block, local_id, node_of
from orchestrator.model.limits import PLAN_BYTES_MAX
from orchestrator.model.meaning import meaning_hash
from orchestrator.model.plans import check_plan

CLASSES = (
    ClassDeclaration(name="EchoNode"),
    ClassDeclaration(name="Pay", effect=Effect.IRREVERSIBLE),
    ClassDeclaration(name="Other"),
    ClassDeclaration(name="Planner", may_use=("Echo", "Pay", "Planner"), max_nodes=4),
    ClassDeclaration(name="Any", may_use=("*",)),
)
KNOWN = {one.name: one for one in CLASSES}


def laid(
    nodes: dict[str, Any], *, by: dict[str, Any] | None = None, **more: Any
) -> tuple[PlanRecord | None, list[Fault]]:
    """What the check says of a plan that a node with these fields lays."""
    document = {"name": "w", "start_at": "p", "nodes": {"p": {"class": "Planner", **(by or {})}}}
    definition = compile_definition(WorkflowDocument.model_validate(document), KNOWN)
    plan = {"start_at": next(iter(nodes)), "nodes": nodes, **more}
    return check_plan(plan, planner=definition.nodes["p"], known=KNOWN, around={"p", "s"})


def codes(nodes: dict[str, Any], **more: Any) -> list[tuple[str, str]]:
    return [(fault.pointer, fault.code) for fault in laid(nodes, **more)[1]]


def saved(node: dict[str, Any]) -> list[tuple[str, str, str | None]]:
    """The faults of a workflow of one node."""
    report = check({"name": "w", "start_at": "p", "nodes": {"p": node}}, KNOWN)
    return [(fault.pointer, fault.code, fault.suggestion) for fault in report.faults]


def test_every_fault_is_told_at_once_with_its_pointer() -> None:
    nodes = {
        "a": {"class": "Other", "next_node": "gone"},
        "b": {"class": "Nobody", "params": {"x": "{{ nodes.missing }}"}},
        "c": {"class": "Echo", "cancels": ["p"], "surprise": 1},
        "d": {"class": "Pay", "params": {"x": "{{ secrets.TOKEN }}"}},
    }
    assert codes(nodes) == [
        ("/nodes/a/class", "may_not_use"),
        ("/nodes/a/next_node", "unknown_node"),
        ("/nodes/b/class", "unknown_class"),
        ("/nodes/b/params/x", "unknown_node"),
        ("/nodes/c/cancels/0", "unknown_node"),
        ("/nodes/c/surprise", "unknown_key"),
        ("/nodes/d", "too_mighty"),
        ("/nodes/d/params", "too_mighty"),
    ]


def test_a_plan_reads_its_own_nodes_and_those_around_it() -> None:
    nodes = {
        "a": {"class": "Echo", "next_node": "b"},
        "b": {"class": "Echo", "params": {"x": "{{ nodes.a }} {{ nodes.s }} {{ previous }}"}},
    }
    assert codes(nodes, output={"x": "{{ nodes.b }} {{ nodes.s }}"}) == []
    assert codes(nodes, output="{{ nodes.gone }}") == [("/output", "unknown_node")]


def test_a_plan_has_at_most_as_many_nodes_as_its_node_may_lay() -> None:
    nodes = {name: {"class": "Echo", "next_node": after} for name, after in zip("abc", "bcd", strict=True)}
    nodes["d"] = {"class": "Echo"}
    assert codes(nodes) == []
    assert codes(nodes, by={"max_nodes": 3}) == [("/nodes", "too_many")]


def test_a_plan_has_no_stronger_effect_than_its_node() -> None:
    assert codes({"a": {"class": "Pay"}}) == [("/nodes/a", "too_mighty")]
    assert codes({"a": {"class": "Echo", "effect": "irreversible"}}) == [("/nodes/a", "too_mighty")]
    assert codes({"a": {"class": "Pay"}}, by={"effect": "irreversible"}) == []


def test_a_plan_reads_no_secrets_that_its_node_does_not_read() -> None:
    nodes = {"a": {"class": "Echo", "params": {"key": "{{ secrets.TOKEN }}"}}}
    assert codes(nodes) == [("/nodes/a/params", "too_mighty")]
    assert codes(nodes, by={"params": {"key": "{{ secrets.TOKEN }}"}}) == []


def test_a_plan_in_a_plan_has_no_more_rights_than_that() -> None:
    record, _ = laid({"a": {"class": "Planner"}}, by={"may_use": ["Planner", "EchoNode"], "max_nodes": 2})
    assert record is not None
    assert record.document["nodes"]["a"] == {
        "class": "Planner",
        "may_use": ["EchoNode", "Planner"],
        "max_nodes": 2,
    }
    asks = {"a": {"class": "Planner", "may_use": ["Pay"], "max_nodes": 4}}
    assert codes(asks, by={"may_use": ["Planner"], "max_nodes": 2}) == [
        ("/nodes/a/may_use/0", "may_not_use"),
        ("/nodes/a/max_nodes", "too_mighty"),
    ]


def test_a_plan_is_kept_with_what_its_classes_declare_and_has_a_size() -> None:
    record, _ = laid({"a": {"class": "Echo", "retry": {"max_attempts": 2}}})
    assert record is not None
    assert record.declarations == {"EchoNode": KNOWN["EchoNode"]}
    assert record.document["nodes"]["a"] == {"class": "Echo", "retry": {"max_attempts": 2}}
    assert codes({"a": {"class": "Echo", "params": {"x": "y" * PLAN_BYTES_MAX}}}) == [("", "too_large")]


def test_a_class_that_lays_no_plans_lays_none() -> None:
    definition = compile_definition(
        WorkflowDocument.model_validate({"name": "w", "start_at": "p", "nodes": {"p": {"class": "Other"}}}),
        KNOWN,
    )
    plan = {"start_at": "a", "nodes": {"a": {"class": "Echo"}}}
    record, faults = check_plan(plan, planner=definition.nodes["p"], known=KNOWN, around=())
    assert record is None
    assert [fault.code for fault in faults] == ["may_not_plan"]


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"class": "Planner", "may_use": ["Echo", "EchoNode"], "max_nodes": 4}, []),
        ({"class": "Planner", "may_use": ["Pai"]}, [("/nodes/p/may_use/0", "rights_loosened", "Pay")]),
        ({"class": "Any", "may_use": ["Oter"]}, [("/nodes/p/may_use/0", "unknown_class", "Other")]),
        ({"class": "Planner", "max_nodes": 5}, [("/nodes/p/max_nodes", "rights_loosened", None)]),
        ({"class": "Planner", "may_use": []}, [("/nodes/p/may_use", "empty", None)]),
        ({"class": "Planner", "may_use": "Echo"}, [("/nodes/p/may_use", "wrong_type", None)]),
        ({"class": "Echo", "max_nodes": 2}, [("/nodes/p/max_nodes", "lays_no_plans", None)]),
        ({"class": "Planner", "for_each": "{{ input }}"}, [("/nodes/p/for_each", "item_plans", None)]),
    ],
)
def test_a_document_tightens_what_plans_may_hold(fields: dict[str, Any], wanted: list[Any]) -> None:
    assert saved(fields) == wanted


def test_rights_belong_to_the_meaning_of_a_version() -> None:
    def meaning(node: dict[str, Any], known: dict[str, ClassDeclaration] = KNOWN) -> str:
        return meaning_hash({"name": "w", "start_at": "p", "nodes": {"p": node}}, known)

    plain = meaning({"class": "Planner"})
    assert meaning({"class": "Planner", "max_nodes": 4}) == plain
    assert meaning({"class": "Planner", "max_nodes": 3}) != plain
    assert meaning({"class": "Planner", "may_use": ["Echo"]}) != plain
    narrower = msgspec.structs.replace(KNOWN["Planner"], may_use=("Echo",))
    assert meaning({"class": "Planner"}, {**KNOWN, "Planner": narrower}) != plain


def test_a_block_hangs_under_the_path_of_its_task() -> None:
    nodes = {
        "a": {"class": "Echo", "next_node": {"left": "b", "*": ["c"]}, "on_error": "c", "compensate": "u"},
        "b": {"class": "Echo", "next_node": "a", "cancels": ["c"]},
        "c": {"class": "Echo"},
        "u": {"class": "Echo"},
    }
    record, faults = laid(nodes)
    assert record is not None, faults
    block = compile_block("p@2", msgspec.Raw(msgspec.json.encode(record)))
    first = block.nodes["p@2/a"]
    assert first.labels == {"left": ("p@2/b",), "*": ("p@2/c",)}
    assert first.on_error == {"*": "p@2/c"}
    assert (first.compensate, block.nodes["p@2/b"].cancels) == ("p@2/u", ("p@2/c",))
    assert first.allowed == ("left", "*")
    assert block.graph.back_edges == {("p@2/b", "p@2/a")}
    assert (node_of("p@2/a@3[7]"), local_id("p@2/a")) == ("p@2/a", "a")
