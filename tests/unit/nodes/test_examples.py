"""The example workflows are right as they stand, with the classes that come with the package."""

import json
from pathlib import Path

import pytest

from orchestrator.model.checks import check
from orchestrator.sdk import Registry
from tests.unit.model.samples import ONBOARDING

FOLDER = Path(__file__).parents[3] / "examples"
FILES = sorted(FOLDER.glob("*.json"))


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


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({}, "needs exactly one of the parameters `for`, `until`, `signal`"),
        ({"for": "{{ input.x }}", "signal": "go"}, "and has `for`, `signal`"),
        ({"for": "1s", "timeout": "2s"}, "`timeout` goes only with `signal`"),
    ],
)
def test_a_wait_for_nothing_or_for_two_things_is_refused(
    registry: Registry, params: dict[str, str], said: str
) -> None:
    document = {"name": "w", "start_at": "a", "nodes": {"a": {"class": "Wait", "params": params}}}
    (fault,) = check(document, registry.declarations()).faults
    assert fault.pointer.startswith("/nodes/a/params")
    assert said in fault.message
