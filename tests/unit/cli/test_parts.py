"""The parts of the long-running commands that need no process: progress, log lines, environment, examples."""

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.cli import examples
from orchestrator.cli.log import TextLines
from orchestrator.cli.processes import Interrupts, with_absolute_store
from orchestrator.cli.progress import Progress
from orchestrator.cli.supervisor import environment_of
from orchestrator.config import Settings

AT = "2026-11-22T16:00:00.000000Z"


def test_progress_tells_steps_and_decisions_and_leaves_the_end_to_its_caller() -> None:
    stream = io.StringIO()
    progress = Progress(stream)
    base = {"seq": 1, "group": 1, "at": AT}
    progress.notice(
        {"kind": "task_log", "path": "a", "attempt": 1, "level": "info", "message": "looking\x1b[1m"}
    )
    progress.notice({"kind": "task_started", "path": "a", "attempt": 1})
    progress.notice({"kind": "task_started", "path": "b", "attempt": 2})
    progress.event({**base, "kind": "run_paused", "by": "operator", "reason": "tea"})
    progress.event({**base, "kind": "run_cancelled", "reason": "enough"})
    progress.event({**base, "kind": "never_heard_of", "path": "c"})
    progress.line("info", "ours")
    lines = [line[9:] for line in stream.getvalue().splitlines()]
    assert lines == [
        "a: looking\\x1b[1m",
        "b started (attempt 2)",
        "paused by operator: tea",
        "c: never_heard_of",
        "ours",
    ]


def test_a_log_line_for_people_begins_with_the_task_and_ends_with_the_run() -> None:
    entry = {"level": "warning", "event": "hm\x07", "task": "a", "run": "run_1", "workflow": "W", "why": "so"}
    line = TextLines(colours=False)(None, "", dict(entry))
    assert line[12:] == "  warning: a: hm\\x07  why=so  run_1"
    assert "\x1b[33m" in TextLines(colours=True)(None, "", dict(entry))


def test_a_relative_store_means_the_same_file_from_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = with_absolute_store(Settings(store="sqlite:///a/b.db"))
    assert settings.store == f"sqlite:///{tmp_path}/a/b.db"
    assert settings.outbox == tmp_path / ".orchestrator" / "outbox"
    assert with_absolute_store(settings) == settings
    assert with_absolute_store(Settings(store="memory://")).store == "memory://"


def test_a_worker_process_finds_every_setting_of_its_parent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("ORCHESTRATOR_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    given = Settings(
        store="sqlite:////x.db", nodes=("a.py", "b"), concurrency=7, lease_seconds=3.5, log_format="json"
    )
    environment = environment_of(given)
    for name, value in environment.items():
        if name.startswith("ORCHESTRATOR_"):
            monkeypatch.setenv(name, value)
    assert Settings.load() == given


async def test_the_first_signal_asks_for_an_end_the_second_for_one_at_once() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    interrupts = Interrupts()
    interrupts.install()
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        await interrupts.stop.wait()
        assert not interrupts.at_once.is_set()
        interrupts.install(chained=True)
        os.kill(os.getpid(), signal.SIGINT)
        await interrupts.at_once.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_the_examples_are_found_and_are_documents_with_names() -> None:
    folder = examples.folder()
    assert folder is not None
    names = {json.loads(file.read_text())["name"] for file in folder.glob("*.json")}
    assert "Agentic User Onboarding" in names


@pytest.mark.parametrize(
    ("arguments", "never"),
    [
        (["--help"], ("pydantic", "structlog", "rich", "fastapi", "apsw", "asyncio")),
        (
            ["runs", "list", "--server", "http://127.0.0.1:9"],
            ("structlog", "jinja2", "rich", "fastapi", "apsw"),
        ),
        (["run", "-", "-q"], ("rich", "fastapi", "uvicorn", "apsw", "jsonschema", "pygments")),
    ],
)
def test_a_command_imports_only_what_it_needs(arguments: list[str], never: tuple[str, ...]) -> None:
    code = (
        "import sys\nfrom orchestrator.cli import main\n"
        f"sys.argv = ['orchestrator', *{arguments!r}]\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"print('LOADED', [name for name in {never!r} if name in sys.modules])\n"
    )
    document = '{"name": "X", "start_at": "a", "nodes": {"a": {"class": "End"}}}'
    done = subprocess.run(
        [sys.executable, "-c", code], input=document, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "LOADED []", done.stdout + done.stderr
