"""`cache` of a node: what can be meant, and when two forms mean the same."""

from typing import Any

import pytest

from orchestrator.model.checks import check
from orchestrator.model.declarations import ClassDeclaration, Effect
from orchestrator.model.definition import compile_definition
from orchestrator.model.document import WorkflowDocument
from orchestrator.model.meaning import meaning_hash

KNOWN = {
    "Look": ClassDeclaration(name="Look", effect=Effect.READ),
    "Send": ClassDeclaration(name="Send", effect=Effect.WRITE),
}


def document(node: dict[str, Any]) -> dict[str, Any]:
    return {"name": "w", "start_at": "a", "nodes": {"a": {"class": "Look", **node}}}


def faults_of(node: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(f.pointer, f.code, f.message) for f in check(document(node), KNOWN).faults]


@pytest.mark.parametrize("written", [True, False, {}, {"ttl": 60}, {"ttl": "1h", "key": "{{ input.id }}"}])
def test_a_class_that_only_looks_may_be_cached(written: Any) -> None:
    assert faults_of({"cache": written}) == []


@pytest.mark.parametrize(
    ("node", "pointer", "words"),
    [
        ({"cache": "1h"}, "/nodes/a/cache", "`cache` is `true`, `false` or an object"),
        ({"cache": {"tll": 1}}, "/nodes/a/cache/tll", "did you mean `ttl`?"),
        ({"cache": {"ttl": 0}}, "/nodes/a/cache/ttl", ""),
        ({"cache": {"ttl": "9999d"}}, "/nodes/a/cache/ttl", ""),
        ({"cache": {"key": "{{ 1 + }}"}}, "/nodes/a/cache/key", ""),
        ({"cache": {"key": "{{ secrets.X }}"}}, "/nodes/a/cache/key", "a secret can't be kept"),
        ({"cache": {"key": "{{ item }}"}}, "/nodes/a/cache/key", "`item` is there"),
        ({"cache": True, "class": "Send"}, "/nodes/a/cache", "class `Send` has effect `write`"),
        ({"cache": True, "effect": "write"}, "/nodes/a/cache", "the node has effect `write`"),
        ({"cache": True, "params": {"t": ["{{ secrets.T }}"]}}, "/nodes/a/cache", "give `cache` a `key`"),
    ],
)
def test_what_cannot_be_cached_is_refused_with_the_reason(
    node: dict[str, Any], pointer: str, words: str
) -> None:
    found = faults_of(node)
    assert any(at == pointer and words in message for at, _, message in found), found


def test_a_key_of_its_own_allows_secrets_in_the_params() -> None:
    assert faults_of({"cache": {"key": "{{ input.id }}"}, "params": {"token": "{{ secrets.T }}"}}) == []


def test_items_may_be_named_in_the_key() -> None:
    assert faults_of({"cache": {"key": "{{ item.id }}"}, "for_each": "{{ input }}"}) == []


def test_spelling_makes_no_version_and_the_time_does() -> None:
    hashes = [
        meaning_hash(document({"cache": written}), KNOWN)
        for written in (True, {}, {"ttl": "1d"}, {"ttl": 86400})
    ]
    assert len(set(hashes)) == 1
    none = {meaning_hash(document(node), KNOWN) for node in ({}, {"cache": False}, {"cache": None})}
    assert len(none) == 1
    assert hashes[0] not in none
    assert meaning_hash(document({"cache": {"ttl": 1}}), KNOWN) not in {hashes[0], *none}


def test_what_the_key_reads_is_kept_for_the_task() -> None:
    written = document({"cache": {"ttl": "2m", "key": "{{ vars.tenant }}"}}) | {"vars": {"tenant": 1}}
    node = compile_definition(WorkflowDocument.model_validate(written), KNOWN).nodes["a"]
    assert node.cache is not None
    assert node.cache.ttl_us == 120_000_000
    assert "tenant" in node.references.variables
