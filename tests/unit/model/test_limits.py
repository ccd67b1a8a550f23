"""`limits` of a node: what can be meant, and what they compile to."""

from typing import Any

import pytest

from orchestrator.model.checks import check
from orchestrator.model.definition import compile_definition
from orchestrator.model.document import WorkflowDocument
from orchestrator.model.meaning import meaning_hash
from tests.unit.model.samples import KNOWN, workflow


def faults_of(limits: Any) -> list[tuple[str, str]]:
    report = check(workflow({"a": {"limits": limits}}), KNOWN)
    return [(fault.pointer, fault.message) for fault in report.faults]


@pytest.mark.parametrize(
    ("limits", "pointer", "words"),
    [
        ({}, "/nodes/a/limits", "either `concurrency`"),
        ({"concurrency": 1, "rate": 2}, "/nodes/a/limits", "either `concurrency`"),
        ([{"concurrency": 1}, {"key": "k"}], "/nodes/a/limits/1", "either `concurrency`"),
        ({"concurrency": 1, "per": "1s"}, "/nodes/a/limits/per", "this limit has none"),
        ({"concurency": 1}, "/nodes/a/limits/concurency", "did you mean `concurrency`?"),
        (3, "/nodes/a/limits", "a limit or a list of them"),
        ([3], "/nodes/a/limits/0", "a limit is an object"),
        ([], "/nodes/a/limits", "the list is empty"),
        ({"key": "{{ 1 + }}", "concurrency": 1}, "/nodes/a/limits/0/key", ""),
        ({"key": "{{ secrets.X }}", "concurrency": 1}, "/nodes/a/limits/0/key", "secret"),
    ],
)
def test_a_limit_that_cannot_be_meant_is_refused_at_its_place(limits: Any, pointer: str, words: str) -> None:
    found = faults_of(limits)
    assert any(at == pointer and words in message for at, message in found), found


def test_one_limit_and_a_list_of_one_mean_the_same() -> None:
    one = workflow({"a": {"limits": {"rate": 2, "per": 1}}})
    listed = workflow({"a": {"limits": [{"rate": 2}]}})
    assert faults_of({"rate": 2, "per": 1}) == []
    assert meaning_hash(one, KNOWN) == meaning_hash(listed, KNOWN)


def test_keys_are_compiled_and_what_they_read_is_kept() -> None:
    document = workflow(
        {"a": {"limits": {"key": "t-{{ vars.tenant }}", "concurrency": 3}}}, vars={"tenant": 1}
    )
    node = compile_definition(WorkflowDocument.model_validate(document), KNOWN).nodes["a"]
    assert (node.limits[0].concurrency, node.limits[0].rate) == (3, None)
    assert "tenant" in node.references.variables
