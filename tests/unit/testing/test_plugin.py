"""The pytest plug-in in a pytest of its own: the docs' examples pass, a failure tells its story, nobody is slowed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def run_pytest(folder: Path, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "orchestrator.testing.plugin", "-p", "no:cacheprovider", "-c",
         str(folder / "none.ini"), "--rootdir", str(folder), "-q", *arguments, str(folder)],
        cwd=folder, capture_output=True, text=True, timeout=240, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "none.ini").write_text("[pytest]\n")
    return tmp_path


@pytest.mark.parametrize(
    "others",
    [["-p", "no:asyncio"], ["--asyncio-mode=auto", "-o", "asyncio_default_fixture_loop_scope=function"]],
    ids=["alone", "asyncio"],
)
def test_the_examples_of_the_page_pass(folder: Path, others: list[str]) -> None:
    for number, text in enumerate(EXAMPLES):
        (folder / f"test_example_{number}.py").write_text(text)
    code, said = run_pytest(folder, "-W", "error", *others)
    wanted = sum(text.count("def test_") for text in EXAMPLES)
    assert code == 0, said
    assert f"{wanted} passed" in said
    assert wanted >= 8


def test_a_failing_test_shows_the_story_of_its_runs(folder: Path) -> None:
    (folder / "test_it.py").write_text(
        "async def test_it(workflow_lab):\n"
        "    run = await workflow_lab.run({'name': 'w', 'start_at': 'a', 'nodes': {'a': {'class': 'Start'}}})\n"
        "    assert run.output == 1\n"
    )
    code, said = run_pytest(folder, "-p", "no:asyncio")
    assert code == 1
    assert "of 'w'" in said or "workflow run" in said
    assert "a completed" in said


def test_a_plain_test_is_told_to_be_async(folder: Path) -> None:
    (folder / "test_it.py").write_text("def test_it(workflow_lab):\n    pass\n")
    code, said = run_pytest(folder, "-p", "no:asyncio")
    assert code == 1
    assert "`async def`" in said


def test_the_plug_in_imports_nothing_heavy() -> None:
    code = """
import sys, pytest
before = set(sys.modules)
import orchestrator.testing.plugin
heavy = {"pydantic", "msgspec", "jinja2", "asyncio", "apsw", "structlog"}
new = set(sys.modules) - before
print(sorted(name for name in new if name.split(".")[0] in heavy or name.startswith("orchestrator.engine")))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
