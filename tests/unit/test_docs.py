"""The users' docs say what is so: documents check, Python loads, links lead somewhere, and nothing is left out."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from orchestrator import Registry
from orchestrator.cli.app import app
from orchestrator.kernel.diagram import diagrams
from orchestrator.kernel.events import KINDS
from orchestrator.model import refused
from orchestrator.model.checks import check
from orchestrator.model.document import BudgetDocument, NodeDocument, RetryDocument, WorkflowDocument
from orchestrator.model.expressions import FILTERS, FUNCTIONS, NAMES, TESTS, compile_value
from orchestrator.model.reading import read_document, read_source

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), *(ROOT / name for name in ("README.md", "CHANGELOG.md")),
                ROOT / "examples" / "README.md"])  # fmt: skip
TEXTS = {page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8") for page in PAGES}
DOCUMENT = TEXTS["docs/document.md"]


def blocks(language: str) -> Iterator[tuple[str, int, str]]:
    """Every fenced block of a language: its page, its number there, its text."""
    for page, text in TEXTS.items():
        found = re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        yield from ((page, number, block) for number, block in enumerate(found, start=1))


def names_in(text: str) -> set[str]:
    """Everything that stands between backticks, whole and in words."""
    quoted = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL))
    return {*quoted, *(word for one in quoted for word in re.findall(r"[\w*-]+", one))}


def section(text: str, title: str) -> str:
    """One section of a page, subsections included."""
    found = re.search(rf"^(#+) {re.escape(title)}$(.*?)(?=^#{{1,2}} |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found is not None, f"no section {title!r}"
    return found[2]


@pytest.fixture(scope="module")
def registry() -> Registry:
    known = Registry()
    assert known.load_entry_points() == ()
    return known


DOCUMENTS = [one for one in blocks("json") if '"start_at"' in one[2] and one[0] != "README.md"]


HINTED = {("docs/patterns.md", "two_entries")}
"""What a page shows on purpose: arbitrary cycles are one of the patterns."""


@pytest.mark.parametrize(("page", "number", "text"), DOCUMENTS)
def test_a_workflow_that_the_docs_show_has_no_fault(
    page: str, number: int, text: str, registry: Registry
) -> None:
    report = check(read_document(text), registry.declarations())

    hints = [hint for hint in report.hints if (page, hint.code) not in HINTED]
    assert [*report.faults, *hints] == [], f"document {number} of {page}"


@pytest.mark.parametrize(("page", "number", "text"), list(blocks("yaml")))
def test_a_yaml_workflow_that_the_docs_show_has_no_fault(
    page: str, number: int, text: str, registry: Registry
) -> None:
    report = check(read_source(text, syntax="yaml").document, registry.declarations())

    assert [*report.faults, *report.hints] == [], f"yaml {number} of {page}"


def test_the_docs_show_workflows() -> None:
    assert len(DOCUMENTS) >= 4


@pytest.mark.parametrize(("page", "number", "text"), list(blocks("json")))
def test_every_json_of_the_docs_is_json(page: str, number: int, text: str) -> None:
    assert isinstance(json.loads(text), dict | list), f"block {number} of {page}"


@pytest.mark.parametrize(("page", "number", "text"), list(blocks("python")))
def test_every_python_of_the_docs_compiles(page: str, number: int, text: str) -> None:
    compile(text, f"{page}, block {number}", "exec")


def test_the_expressions_of_the_docs_give_what_the_page_says() -> None:
    part = section(DOCUMENT, "Expressions")
    given = re.search(r"over the input `(\{.*\})`", part)
    assert given is not None
    rows: list[tuple[str, str]] = re.findall(r"^\| `(\{\{.+\}\})` \| `(.+)` \|$", part, re.MULTILINE)

    assert len(rows) >= 6
    for written, wanted in rows:
        value = compile_value(written.replace("\\|", "|")).evaluate({"input": json.loads(given[1])})
        assert value == json.loads(wanted), written


def test_the_document_page_names_every_field() -> None:
    named = names_in(DOCUMENT)
    fields: set[str] = set()
    for model in (WorkflowDocument, NodeDocument, RetryDocument, BudgetDocument):
        fields |= {field.alias or name for name, field in model.model_fields.items()}

    assert fields - named == set()


def test_the_document_page_names_what_this_release_refuses() -> None:
    named = names_in(section(DOCUMENT, "Not acted on by this release"))
    wanted = {*refused.WORKFLOW_FIELDS, *refused.NODE_FIELDS}

    assert wanted - named == set()
    shown = {name for name in named if name in {*WorkflowDocument.model_fields, *NodeDocument.model_fields}}
    assert shown <= wanted | {"budget"}, "the page calls refused what is acted on"


@pytest.mark.parametrize(
    "table", [NAMES, FILTERS, FUNCTIONS, TESTS], ids=["names", "filters", "functions", "tests"]
)
def test_the_document_page_names_everything_of_expressions(table: Any) -> None:
    named = names_in(section(DOCUMENT, "Expressions"))

    assert set(table) - named - {"item"} == set()  # `item` is for_each's


def test_every_kind_of_event_is_explained() -> None:
    table = section(TEXTS["docs/concepts.md"], "Kinds of events")
    explained = names_in("\n".join(re.findall(r"^\| ([^|]+) \|", table, re.MULTILINE)))

    assert explained == {kind.__struct_config__.tag for kind in KINDS}


def test_every_built_in_class_is_listed(registry: Registry) -> None:
    listed = names_in(section(DOCUMENT, "Pre-built classes"))

    assert {name for name in registry.declarations() if name.endswith("Node")} - listed == set()


def commands() -> list[str]:
    """Every command line, such as `runs list`."""
    found: list[str] = []
    group: Any = typer.main.get_command(app)
    todo: list[tuple[str, Any]] = [("", group)]
    while todo:
        prefix, command = todo.pop()
        inner = getattr(command, "commands", None)
        if inner is None:
            found.append(prefix.strip())
            continue
        todo.extend((f"{prefix} {name}", sub) for name, sub in inner.items() if not sub.hidden)
    return sorted(found)


@pytest.mark.parametrize("command", commands())
def test_every_command_is_in_the_docs(command: str) -> None:
    text = TEXTS["docs/cli.md"]
    last = command.rpartition(" ")[2]

    assert f"orchestrator {command}" in text or re.search(rf"`(runs )?{last}\b", text), command


def test_the_diagrams_are_those_of_the_tables() -> None:
    assert diagrams() in TEXTS["docs/architecture.md"]


def anchors(text: str) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", sorted(TEXTS))
def test_every_link_leads_somewhere(page: str) -> None:
    text = re.sub(r"^```.*?^```$", "", TEXTS[page], flags=re.MULTILINE | re.DOTALL)
    wrong: list[str] = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://")):
            continue
        name, _, anchor = target.partition("#")
        file = (ROOT / page).parent / name if name else ROOT / page
        if not file.exists() or (anchor and anchor not in anchors(file.read_text(encoding="utf-8"))):
            wrong.append(target)

    assert wrong == []


def test_the_architecture_page_names_files_that_are_there() -> None:
    table = section(TEXTS["docs/architecture.md"], "Where things are")
    source = ROOT / "src" / "orchestrator"
    missing: list[str] = []
    for row in re.findall(r"^\| (`.+?) \|", table, re.MULTILINE):
        folder = ""
        for name in re.findall(r"`([\w/*]+)`", row):
            folder = f"{name.rpartition('/')[0]}/" if "/" in name else folder
            path = name if "/" in name else f"{folder}{name}"
            if not any(source.glob(path.rstrip("/"))) and not any(source.glob(f"{path}.py")):
                missing.append(path)

    assert missing == []
    assert "orchestrator" in sys.modules
