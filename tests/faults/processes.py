"""Real processes of ours for the fault tests: started, killed, stopped and started again on the same store."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx2

from tests.e2e.api_server import free_port

READY_SECONDS = 30.0
REALTIME = os.environ.get("ORCHESTRATOR_TEST_REALTIME") == "1"
"""Whether limits in real time are asserted (`make faults`), or only measured."""
NODES = Path(__file__).with_name("nodes.py")
TERMINAL = ("succeeded", "failed", "cancelled")

T = TypeVar("T")


@dataclass
class Server:
    """`orchestrator dev`, or `serve` with workers. `start` may be called again after it died: same store, same port."""

    folder: Path
    command: tuple[str, ...] = ("dev", "--no-examples")
    environment: dict[str, str] = field(default_factory=dict[str, str])
    port: int = field(default_factory=free_port)
    ready_means: str = "/readyz"
    store_at: Path | None = None
    process: subprocess.Popen[bytes] | None = None
    ready_at: float = 0.0
    start_seconds: float = 0.0
    starts: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return (self.folder / "server.log").read_text(errors="replace")

    @property
    def store(self) -> Path:
        return self.store_at or self.folder / "store.db"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger.jsonl"

    def start(self) -> None:
        """Start, and come back once it is ready; `ready_at` is when that was."""
        self.process = spawn(
            [*self.command, "--port", str(self.port)],
            folder=self.folder,
            store=self.store,
            **self.environment,
        )
        self.starts += 1
        began = time.monotonic()
        while time.monotonic() - began < READY_SECONDS:
            if self.process.poll() is not None:
                raise AssertionError(f"the server ended with {self.process.returncode}:\n{self.log}")
            with contextlib.suppress(httpx2.TransportError):
                if httpx2.get(f"{self.url}{self.ready_means}").status_code == 200:
                    self.ready_at = time.time()
                    self.start_seconds = time.monotonic() - began
                    return
            time.sleep(0.01)
        raise AssertionError(f"the server was not ready within {READY_SECONDS:g} s:\n{self.log}")

    def kill(self, *, children: bool = False) -> None:
        """kill -9, of its workers too if wanted, and wait until it is gone."""
        if self.process is None:
            return
        family = [*(children_of(self.pid) if children else []), self.pid]
        for pid in family:
            send(pid, signal.SIGKILL)
        self.process.wait(timeout=30)
        for pid in family:
            wait_until(lambda pid=pid: not alive(pid), f"process {pid} is gone")

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)

    def client(self) -> httpx2.Client:
        return httpx2.Client(base_url=f"{self.url}/api/v1", timeout=20)


def spawn(command: list[str], *, folder: Path, store: Path, **environment: str) -> subprocess.Popen[bytes]:
    """A process of ours. What it says goes to `server.log`, stdout too."""
    # Settings of the shell that the tests run in must not reach it.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ORCHESTRATOR_")}
    ours = {
        "ORCHESTRATOR_STORE": f"sqlite:///{store}",
        "ORCHESTRATOR_NODES": str(NODES),
        "ORCHESTRATOR_OUTBOX": str(folder / "outbox"),
        "LEDGER": str(folder / "ledger.jsonl"),
    }
    with (folder / "server.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "orchestrator.cli", *command],
            cwd=folder,
            env={**kept, **ours, **environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )


@contextlib.contextmanager
def server(
    folder: Path,
    *command: str,
    ready_means: str = "/readyz",
    store_at: Path | None = None,
    environment: dict[str, str] | None = None,
) -> Generator[Server]:
    """A started server; killed at the end, with its workers."""
    folder.mkdir(parents=True, exist_ok=True)
    found = Server(
        folder,
        command or ("dev", "--no-examples"),
        environment or {},
        ready_means=ready_means,
        store_at=store_at,
    )
    try:
        found.start()
        yield found
    finally:
        found.kill(children=True)


def tell(text: str) -> None:
    """Say what was measured; seen with `pytest -s`, as in `make faults`."""
    print(f"\n{text}")  # noqa: T201


# ------------------------------------------------------------------------------------------------------- processes


def send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def alive(pid: int) -> bool:
    """Whether it runs; a zombie that nobody has waited for doesn't."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return False


def children_of(pid: int) -> list[int]:
    """Its children and theirs."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found.extend(int(child) for child in task.read_text().split())
    return [*found, *(grandchild for child in found for grandchild in children_of(child))]


def wait_until(
    condition: Callable[[], T | None], what: str, *, seconds: float = 30.0, log: Server | None = None
) -> T:
    """Poll until the condition holds; gives what it gave."""
    deadline = time.monotonic() + seconds
    while True:
        if found := condition():
            return found
        if time.monotonic() > deadline:
            told = f"\n{log.log[-5000:]}" if log is not None else ""
            raise AssertionError(f"it never came within {seconds:g} s: {what}{told}")
        time.sleep(0.02)


# ------------------------------------------------------------------------------------------------------------- API


def save(client: httpx2.Client, document: dict[str, Any]) -> None:
    answer = client.post("/workflows", json=document)
    assert answer.status_code in (200, 201), answer.text


def start(client: httpx2.Client, workflow: str, **body: Any) -> str:
    answer = client.post(f"/workflows/{workflow}/runs", json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def run_of(client: httpx2.Client, run: str) -> dict[str, Any]:
    answer = client.get(f"/runs/{run}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def until_over(client: httpx2.Client, run: str, *, seconds: float = 30.0) -> dict[str, Any]:
    """The run, once it has ended."""

    def over() -> dict[str, Any] | None:
        found = run_of(client, run)
        return found if found["status"] in TERMINAL else None

    return wait_until(over, f"run {run} ends", seconds=seconds)


def journal(client: httpx2.Client, run: str) -> list[dict[str, Any]]:
    """All its events."""
    return list(_pages(client, f"/runs/{run}/journal"))


def _pages(client: httpx2.Client, path: str) -> Iterator[dict[str, Any]]:
    after = 0
    while True:
        answer = client.get(path, params={"after": after, "limit": 500})
        assert answer.status_code == 200, answer.text
        items = answer.json()["items"]
        yield from items
        if not items:
            return
        after = items[-1]["seq"]
