"""What the README shows must be so: its node, its workflow, its commands and its links."""

import re
from pathlib import Path

import pytest

from orchestrator import Registry, Route
from orchestrator.model.checks import check
from orchestrator.model.reading import read_document

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_the_workflow_of_the_readme_is_accepted_with_its_node(tmp_path: Path) -> None:
    module = tmp_path / "my_nodes.py"
    module.write_text(blocks("python")[0])
    registry = Registry()
    problems = registry.load_entry_points()
    names = registry.load_module(module)

    report = check(read_document(blocks("json")[0]), registry.declarations())

    assert problems == ()
    assert names == ("triage",)
    assert report.faults == ()
    assert report.hints == ()


@pytest.mark.parametrize(("amount", "target"), [(1000, "confirm"), (1001, "ask_sales")])
def test_the_node_of_the_readme_decides_as_it_says(amount: int, target: str) -> None:
    scope: dict[str, object] = {}
    exec(blocks("python")[0], scope)  # noqa: S102 (our own README)
    decided = scope["triage"].function(amount)  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType, reportUnknownMemberType]

    assert isinstance(decided, Route)
    assert decided.targets == (target,)


def test_every_file_that_the_readme_names_is_there() -> None:
    linked = re.findall(r"\]\((?!https?://)([^)#]+)\)", README)
    named = re.findall(r"@(examples/[\w./-]+)", README) + re.findall(r"python3? (scripts/[\w.]+)", README)

    assert [name for name in [*linked, *named] if not (ROOT / name).exists()] == []


def test_every_make_target_that_the_readme_names_is_there() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    assert set(re.findall(r"`make ([a-z]+)`", README)) | {"up"} <= targets
