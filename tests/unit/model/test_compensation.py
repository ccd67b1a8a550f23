"""The checks of `compensate`: its target stands apart from the flow, and nothing follows on it."""

from typing import Any

import pytest

from orchestrator.model.checks import check
from orchestrator.model.declarations import ClassDeclaration

KNOWN = {
    d.name: d
    for d in (
        ClassDeclaration(name="PlainNode"),
        ClassDeclaration(name="AgentNode", routes=("*",)),
        ClassDeclaration(name="ChooseNode", routes=()),
    )
}


def faults_of(nodes: dict[str, Any]) -> list[tuple[str, str]]:
    written = {node: {"class": "Plain", **fields} for node, fields in nodes.items()}
    report = check({"name": "w", "start_at": next(iter(nodes)), "nodes": written}, KNOWN)
    return [(fault.pointer, fault.code) for fault in report.faults]


@pytest.mark.parametrize(
    ("nodes", "faults"),
    [
        ({"a": {"compensate": "undo"}, "undo": {}}, []),
        ({"a": {"compensate": "undo", "next_node": "b"}, "b": {"compensate": "undo"}, "undo": {}}, []),
        ({"a": {"compensate": "undoo"}, "undo": {}}, [("/nodes/a/compensate", "unknown_node")]),
        ({"a": {"compensate": 1}}, [("/nodes/a/compensate", "wrong_type")]),
        ({"a": {"compensate": "?"}}, [("/nodes/a/compensate", "bad_id")]),
        ({"a": {"compensate": "a"}}, [("/nodes/a/compensate", "compensates_itself")]),
        (
            {"a": {"next_node": "b"}, "b": {"compensate": "a"}},
            [("/nodes/a/next_node", "compensation_goes_on"), ("/nodes/b/compensate", "compensation_in_flow")],
        ),
        (
            {"a": {"next_node": "b", "compensate": "b"}, "b": {}},
            [("/nodes/a/compensate", "compensation_in_flow")],
        ),
        (
            {"a": {"compensate": "undo"}, "undo": {"on_error": "undo"}},
            [
                ("/nodes/a/compensate", "compensation_in_flow"),
                ("/nodes/undo/on_error", "compensation_goes_on"),
            ],
        ),
        (
            {"a": {"compensate": "undo"}, "undo": {"class": "Choose"}},
            [("/nodes/undo/class", "compensation_goes_on")],
        ),
        (
            {"a": {"compensate": "undo"}, "undo": {"compensate": "more"}, "more": {}},
            [("/nodes/undo/compensate", "compensation_goes_on")],
        ),
        ({"a": {"compensate": "undo"}, "undo": {"params": {"x": "{{ nodes.a }}"}}}, []),
        (
            {"a": {"compensate": "undo"}, "undo": {"params": {"x": "{{ nodes.undo }}"}}},
            [("/nodes/undo/params/x", "not_yet")],
        ),
    ],
)
def test_a_compensation_stands_apart(nodes: dict[str, Any], faults: list[tuple[str, str]]) -> None:
    found = [(p, c) for p, c in faults_of(nodes) if c not in ("unreachable", "endless_loop", "no_end")]
    assert found == faults


def test_a_route_to_any_node_never_leads_to_a_compensation() -> None:
    nodes = {
        "a": {"class": "Agent", "compensate": "undo"},
        "b": {"class": "Plain"},
        "undo": {"class": "Plain"},
    }
    report = check({"name": "w", "start_at": "a", "nodes": nodes}, KNOWN)
    assert report.definition is not None
    assert report.definition.nodes["a"].allowed == ("a", "b")


def test_a_compensation_is_no_end_of_the_flow_that_others_fall_back_to() -> None:
    nodes = {
        "a": {"class": "Choose", "compensate": "undo"},
        "b": {"class": "Plain"},
        "undo": {"class": "Plain"},
    }
    report = check({"name": "w", "start_at": "a", "nodes": nodes}, KNOWN)
    assert report.definition is not None
    assert report.definition.nodes["a"].allowed == ("b",)
