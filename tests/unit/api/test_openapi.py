"""The description of the API: complete, stable, and the one that the page's client is made from."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from orchestrator.api import models, openapi

ROOT = Path(__file__).parents[3]
DOCUMENT = openapi.describe()
OPERATIONS: list[tuple[str, str, dict[str, Any]]] = [
    (method, path, operation)
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
]


def test_the_description_that_the_page_is_made_from_is_this_one() -> None:
    kept = (ROOT / "ui" / "openapi.json").read_text(encoding="utf-8")
    assert kept == openapi.render(), "run `python -m orchestrator.api.openapi`"


def test_operation_ids_are_stable_names_and_stand_once() -> None:
    names = [operation["operationId"] for _, _, operation in OPERATIONS]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch("[a-z]+(_[a-z]+)+", name) for name in names)


@pytest.mark.parametrize(
    ("method", "path", "operation"), OPERATIONS, ids=lambda v: v if isinstance(v, str) else ""
)
def test_every_operation_is_described(method: str, path: str, operation: dict[str, Any]) -> None:
    assert operation["summary"]
    assert operation["description"]
    assert operation["tags"]
    assert all(parameter.get("description") for parameter in operation.get("parameters", ()))
    if method == "post":
        content = operation["requestBody"]["content"].get("application/json")
        if content is None:
            assert operation["requestBody"]["content"].keys() == {"application/gzip"}
            return
        assert "$ref" in content["schema"] or content["example"]
    if path.startswith("/api/") and "session" not in path:
        assert operation["security"]
        assert "401" in operation["responses"]


def test_every_reference_leads_somewhere() -> None:
    text = json.dumps(DOCUMENT)
    for name in set(re.findall(r'"#/components/schemas/([^"]+)"', text)):
        assert name in DOCUMENT["components"]["schemas"], name


def test_statuses_are_those_of_the_engine() -> None:
    from orchestrator.kernel.status import RunStatus, TaskStatus

    assert {s.value for s in models.RunStatus} == {s.value for s in RunStatus}
    assert {s.value for s in models.TaskStatus} == {s.value for s in TaskStatus}
