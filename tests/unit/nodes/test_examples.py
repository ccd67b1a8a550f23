"""The example workflows are right as they stand, with the classes that come with the package."""

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.model.checks import check
from orchestrator.sdk import Registry

FOLDER = Path(__file__).parents[3] / "examples"
FILES = sorted(FOLDER.glob("*.json"))

ONBOARDING: dict[str, Any] = {
    "name": "Agentic User Onboarding",
    "start_at": "step_start",
    "nodes": {
        "step_start": {"class": "StartNode", "next_node": "step_get_user"},
        "step_get_user": {"class": "GetUserDataNode", "next_node": "step_route_user"},
        "step_route_user": {"class": "RouteUserByTypeNode"},
        "step_escalate": {"class": "EscalateToPremiumSupportNode", "next_node": "step_send_email"},
        "step_standard_process": {"class": "ProcessStandardUserNode", "next_node": "step_send_email"},
        "step_send_email": {"class": "SendWelcomeEmailNode", "next_node": "step_end"},
        "step_end": {"class": "EndNode"},
    },
}


@pytest.fixture(scope="module")
def registry() -> Registry:
    registry = Registry()
    registry.load_module("orchestrator.nodes")
    return registry


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_example_has_neither_faults_nor_hints(file: Path, registry: Registry) -> None:
    report = check(json.loads(file.read_text(encoding="utf-8")), registry.declarations())
    assert ([str(f) for f in report.faults], [str(h) for h in report.hints]) == ([], [])


def test_the_onboarding_example_is_the_document_people_already_write() -> None:
    assert json.loads((FOLDER / "onboarding.json").read_text(encoding="utf-8")) == ONBOARDING


def test_the_readme_names_every_example() -> None:
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert [file.name for file in FILES if f"`{file.name}`" not in text] == []
