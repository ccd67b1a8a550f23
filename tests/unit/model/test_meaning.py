"""Two documents are one version if they mean the same."""

import copy
from typing import Any

import msgspec
import pytest

from orchestrator.errors import DefinitionError
from orchestrator.model.meaning import meaning_hash
from tests.unit.model.samples import KNOWN, ONBOARDING, workflow

BASE = workflow(
    {
        "a": {
            "next_node": "b",
            "params": {"x": 1, "y": 2},
            "retry": {"initial": "30s"},
            "description": "first",
        },
        "b": {"class": "EndNode", "timeout": 3600},
    },
    description="words",
    vars={"v": 1},
)


def changed(*path: str, to: Any) -> dict[str, Any]:
    document = copy.deepcopy(BASE)
    holder: Any = document
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = to
    return document


@pytest.mark.parametrize(
    "document",
    [
        changed("positions", to={"a": {"x": 1, "y": 2}}),
        changed("x-note", to=1),
        changed("nodes", "a", "x-note", to=1),
        changed("nodes", "a", "retry", "x-note", to=1),
        changed("nodes", "a", "retry", "initial", to=30),
        changed("nodes", "a", "params", to={"y": 2, "x": 1}),
        changed("nodes", "b", "class", to="End"),
        changed("nodes", "a", "join", to=None),
        changed("nodes", "a", "join", to="all"),
        changed("nodes", "b", "retry", to={"max_interval": "1m"}),
        changed("on_failure", to="stop"),
        changed("on_parent_cancel", to=None),
        changed("budget", to={"duration": "366d"}),
        changed("labels", to={}),
        changed("nodes", "a", "effect", to="pure"),
        changed("nodes", "a", "on_doubt", to="ask"),
        changed("nodes", "b", "queue", to="default"),
        changed("nodes", "b", "priority", to=0),
    ],
)
def test_what_means_the_same_has_one_hash(document: dict[str, Any]) -> None:
    assert meaning_hash(document, KNOWN) == meaning_hash(BASE, KNOWN)


@pytest.mark.parametrize(
    "document",
    [
        changed("nodes", "a", "effect", to="write"),
        changed("nodes", "a", "on_doubt", to="skip"),
        changed("nodes", "b", "queue", to="gpu"),
        changed("nodes", "b", "priority", to=-3),
        changed("name", to="other"),
        changed("description", to="other"),
        changed("nodes", to=dict(reversed(BASE["nodes"].items()))),
        changed("nodes", "a", "params", "x", to=2),
        changed("nodes", "a", "params", "x-note", to=1),
        changed("nodes", "a", "next_node", to=["b", "a"]),
        changed("nodes", "a", "description", to="other"),
        changed("nodes", "b", "class", to="SetNode"),
        changed("vars", to={"v": 2}),
        changed("output", to=None),
        changed("labels", to={"a": "b"}),
        changed("nodes", "a", "join", to="any"),
        changed("nodes", "a", "cancels", to=["b"]),
        changed("on_failure", to="finish_branches"),
    ],
)
def test_what_means_something_else_has_another_hash(document: dict[str, Any]) -> None:
    assert meaning_hash(document, KNOWN) != meaning_hash(BASE, KNOWN)


def test_one_join_spelt_in_several_ways_is_one_meaning() -> None:
    def of(join: Any) -> str:
        return meaning_hash(changed("nodes", "a", "join", to=join), KNOWN)

    assert of("any") == of(1) == of({"count": 1}) == of({"rest": "ignore", "count": 1})
    assert len({of("any"), of(2), of("each"), of("all"), of({"count": 1, "rest": "cancel"})}) == 5


def test_what_a_class_declares_counts_and_how_it_is_described_does_not() -> None:
    router = KNOWN["RouteUserByTypeNode"]
    base = meaning_hash(ONBOARDING, KNOWN)
    weighty: list[dict[str, Any]] = [{"routes": ("step_end",)}, {"class_version": 2}]
    for change in weighty:
        other = KNOWN | {router.name: msgspec.structs.replace(router, **change)}
        assert meaning_hash(ONBOARDING, other) != base
    light: list[dict[str, Any]] = [{"summary": "words"}, {"output_schema": {}}]
    for change in light:
        other = KNOWN | {router.name: msgspec.structs.replace(router, **change)}
        assert meaning_hash(ONBOARDING, other) == base


def test_a_document_without_shape_has_no_meaning() -> None:
    with pytest.raises(DefinitionError):
        meaning_hash({"nodes": {}}, KNOWN)
