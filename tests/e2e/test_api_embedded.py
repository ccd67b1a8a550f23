"""The server inside somebody's own program, as docs/api.md shows it, and how it ends by signals."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

import httpx2
import pytest

from tests.e2e.api_server import ApiServer, free_port

ROOT = Path(__file__).resolve().parents[2]
BUSY = """
import asyncio
from orchestrator.sdk import node


@node
async def busy() -> None:
    await asyncio.Event().wait()
"""


@pytest.fixture
def embedded(tmp_path: Path) -> Generator[ApiServer]:
    """The program of the documentation, on a free port and with a node class that never ends."""
    blocks = re.findall(
        r"```python\n(.*?)```", (ROOT / "docs" / "api.md").read_text(encoding="utf-8"), re.DOTALL
    )
    (program,) = [block for block in blocks if "server import" in block]
    port = free_port()
    (tmp_path / "program.py").write_text(program.replace("8080", str(port)))
    (tmp_path / "busy.py").write_text(BUSY)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ORCHESTRATOR_")}
    settings = {"ORCHESTRATOR_NODES": "busy.py", "ORCHESTRATOR_SHUTDOWN_SECONDS": "120"}
    server = ApiServer(tmp_path, settings, port)
    with (tmp_path / "server.log").open("ab") as log:
        server.process = subprocess.Popen(
            [sys.executable, "program.py"], cwd=tmp_path, env={**kept, **settings}, stdout=log, stderr=log
        )
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.kill()


def start_busy(server: ApiServer) -> str:
    document = {"name": "busy", "start_at": "a", "nodes": {"a": {"class": "busy"}}}
    with httpx2.Client(base_url=f"{server.url}/api/v1") as client:
        assert client.post(
            "/workflows", content=json.dumps(document), headers={"Content-Type": "application/json"}
        )
        run = client.post("/workflows/busy/runs", json={}).json()["id"]
        deadline = time.monotonic() + 20
        while client.get(f"/runs/{run}").json()["tasks"]["running"] == 0:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    return run


def test_the_program_of_the_documentation_runs_and_ends_by_a_signal(embedded: ApiServer) -> None:
    assert httpx2.get(f"{embedded.url}/api/v1/system").status_code == 200
    assert embedded.stop() < 10
    assert embedded.process is not None
    assert embedded.process.returncode == 0, embedded.log


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_a_busy_server_at_once(number: signal.Signals, embedded: ApiServer) -> None:
    start_busy(embedded)
    process = embedded.process
    assert process is not None
    process.send_signal(number)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=2)
    process.send_signal(number)
    assert process.wait(timeout=10) == 0, embedded.log
    assert "Traceback" not in embedded.log
