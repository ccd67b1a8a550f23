"""The JSON Schema of the document agrees with the checks, as far as JSON Schema can."""

import copy
import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from orchestrator.model.checks import check
from orchestrator.model.refused import NODE_FIELDS
from orchestrator.model.schema import params_schema, workflow_schema
from tests.unit.model.samples import KNOWN, ONBOARDING, workflow

SCHEMA = workflow_schema(KNOWN)


def errors_of(schema: dict[str, Any], value: Any) -> list[Any]:
    validator: Any = Draft202012Validator(schema)
    return list(validator.iter_errors(value))


def problems(document: Any) -> list[str]:
    found = errors_of(SCHEMA, document)
    return sorted("/".join(str(step) for step in error.absolute_path) for error in found)


def test_it_is_a_schema_and_plain_json() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA


def test_the_onboarding_workflow_satisfies_it() -> None:
    assert problems(ONBOARDING) == []


@pytest.mark.parametrize(
    ("node", "place"),
    [
        ({"class": "Nobody"}, "nodes/a/class"),
        ({"nxt": 1}, "nodes/a"),
        ({"for_each": 1}, "nodes/a/for_each"),
        ({"max_parallel": 0}, "nodes/a/max_parallel"),
        ({"on_item_error": "ignore"}, "nodes/a/on_item_error"),
        ({"complete_when": []}, "nodes/a/complete_when"),
        ({"next_node": 1}, "nodes/a/next_node"),
        ({"next_node": "a b"}, "nodes/a/next_node"),
        ({"join": "some"}, "nodes/a/join"),
        ({"join": 0}, "nodes/a/join"),
        ({"join": {"count": 0}}, "nodes/a/join"),
        ({"join": {"count": 1, "rest": "keep"}}, "nodes/a/join"),
        ({"cancels": "a b"}, "nodes/a/cancels"),
        ({"class": "Mail"}, "nodes/a"),
        ({"class": "MailNode", "params": {"subject": 1}}, "nodes/a/params/subject"),
        ({"class": "MailNode", "params": {"subject": "x", "nope": 1}}, "nodes/a/params"),
        ({"class": "MailNode", "params": {"subject": "x", "options": {"html": 1}}}, "nodes/a/params/options"),
    ],
)
def test_editor_and_checks_find_the_same(node: dict[str, Any], place: str) -> None:
    document = workflow({"a": node})
    assert problems(document)[0].startswith(place)
    assert check(document, KNOWN).faults


@pytest.mark.parametrize(
    "params",
    [
        {"subject": "x"},
        {
            "subject": "{{ input.s }}",
            "copies": "{{ input.n }}",
            "options": "{{ input.o }}",
            "tags": "{{ input.t }}",
        },
        {"subject": "x", "options": {"html": "{{ input.h }}"}, "tags": ["a", "{{ input.t }}"]},
    ],
)
def test_an_expression_may_stand_for_any_param(params: dict[str, Any]) -> None:
    document = workflow({"a": {"class": "Mail", "params": params}})
    assert problems(document) == []
    assert check(document, KNOWN).faults == ()
    assert errors_of(params_schema(KNOWN["MailNode"]), params) == []


def test_both_spellings_are_offered_with_words_for_hovering() -> None:
    described = SCHEMA["$defs"]["NodeDocument"]["properties"]["class"]
    assert {"Mail", "MailNode", "Start", "StartNode"} <= set(described["enum"])
    assert {"const": "Mail", "title": "Mail", "description": "Sends a mail."} in described["oneOf"]
    assert SCHEMA["properties"]["nodes"]["description"]
    assert not set(NODE_FIELDS) & set(SCHEMA["$defs"]["NodeDocument"]["properties"])


def test_the_declarations_are_not_changed() -> None:
    before = copy.deepcopy(KNOWN["MailNode"].params_schema)
    workflow_schema(KNOWN)
    assert KNOWN["MailNode"].params_schema == before


def test_without_classes_it_is_still_a_schema() -> None:
    Draft202012Validator.check_schema(workflow_schema({}))
