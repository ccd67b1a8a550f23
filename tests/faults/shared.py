"""What the faults of every shared store have in common: worker processes, and runs that must all end well."""

import contextlib
import subprocess
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx2

from tests.faults.processes import TERMINAL, Server, journal, run_of, spawn, wait_until

LEASE = {"ORCHESTRATOR_LEASE_SECONDS": "3", "ORCHESTRATOR_HEARTBEAT_SECONDS": "1"}
HEALED_SECONDS = 5.0
CHAIN: dict[str, Any] = {
    "name": "chain",
    "start_at": "a",
    "nodes": {
        **{
            name: {"class": "LedgerNode", "params": {"seconds": 0.05, "value": name}, "next_node": following}
            for name, following in zip("abcde", "bcdef", strict=True)
        },
        "f": {"class": "EndNode"},
    },
}
PATHS = list("abcdef")


def on(url: str) -> dict[str, str]:
    """The environment of a process on this store."""
    return {"ORCHESTRATOR_STORE": url, **LEASE}


@contextlib.contextmanager
def workers(folder: Path, url: str, count: int) -> Generator[list[subprocess.Popen[bytes]]]:
    """Worker processes of their own, as on other machines."""
    found = [spawn(["worker"], folder=folder, store=folder / "unused", **on(url)) for _ in range(count)]
    try:
        yield found
    finally:
        for worker in found:
            worker.kill()
            worker.wait(timeout=30)


def wait_for_workers(client: httpx2.Client, count: int, found: Server) -> None:
    """Until so many are registered."""
    wait_until(
        lambda: len(client.get("/system").json()["workers"]) == count, f"{count} workers are there", log=found
    )


def begin(client: httpx2.Client, timeout: float = 20.0) -> list[str]:
    """Start a run of the chain; its id, if it was acknowledged."""
    with contextlib.suppress(httpx2.HTTPError):
        answer = client.post("/workflows/chain/runs", json={}, timeout=timeout)
        if answer.status_code == 201:
            return [str(answer.json()["id"])]
        assert answer.status_code == 503, answer.text
    return []


def check_runs(found: Server, runs: list[str]) -> None:
    """Every acknowledged run ended well, its journal has no gap, and each task one result."""
    with found.client() as client:
        for run in runs:
            over = wait_until(lambda run=run: _over(client, run), f"run {run} ends", seconds=60, log=found)
            assert over["status"] == "succeeded", over
            events = journal(client, run)
            assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
            completed = Counter(event["path"] for event in events if event["kind"] == "task_completed")
            assert completed == Counter(PATHS)


def _over(client: httpx2.Client, run: str) -> dict[str, Any] | None:
    with contextlib.suppress(httpx2.HTTPError, AssertionError):
        found = run_of(client, run)
        return found if found["status"] in TERMINAL else None
    return None
