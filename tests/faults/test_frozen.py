"""A worker that stands still longer than its lease: what it writes then is refused, and it goes on."""

import contextlib
import signal
import subprocess
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.faults.processes import (
    Server,
    journal,
    run_of,
    save,
    send,
    server,
    spawn,
    start,
    tell,
    until_over,
    wait_until,
)
from tests.faults.thirty import ledger, seconds_of

pytestmark = [pytest.mark.faults, pytest.mark.slow]

LEASE_SECONDS = 1.5
SETTINGS = {
    "ORCHESTRATOR_LEASE_SECONDS": str(LEASE_SECONDS),
    "ORCHESTRATOR_HEARTBEAT_SECONDS": "0.4",
    "ORCHESTRATOR_SLOW_POLL_SECONDS": "0.25",
}


@contextlib.contextmanager
def worker(found: Server, name: str) -> Generator[subprocess.Popen[bytes]]:
    """A worker process with a log of its own."""
    folder = found.folder / name
    folder.mkdir()
    process = spawn(
        ["worker", "--log-level", "debug", "--log-format", "json"],
        folder=folder,
        store=found.store,
        **{**SETTINGS, "LEDGER": str(found.ledger)},
    )
    try:
        wait_until(
            lambda: "takes tasks from" in (folder / "server.log").read_text(), f"worker {name} is ready"
        )
        yield process
    finally:
        send(process.pid, signal.SIGCONT)
        process.kill()
        process.wait()


def chain(node: str, seconds: float) -> dict[str, object]:
    return {
        "name": f"frozen {node}",
        "start_at": "a",
        "nodes": {
            "a": {"class": node, "params": {"seconds": seconds, "value": 1}, "next_node": "b"},
            "b": {"class": "LedgerNode", "params": {"value": 2}, "next_node": "end"},
            "end": {"class": "EndNode"},
        },
    }


HEARD = ("lets go of its tasks", "came too late", "lease was lost")


@pytest.mark.parametrize(
    ("node", "stopped_after"),
    [
        ("LedgerNode", 0.9),
        ("ThreadNode", 0.2),
        ("PayInStepNode", 0.55),
    ],
)
def test_a_worker_that_was_stopped_longer_than_its_lease_changes_nothing(
    tmp_path: Path, node: str, stopped_after: float
) -> None:
    with (
        server(tmp_path, "serve", "--workers", "0", ready_means="/healthz", environment=SETTINGS) as found,
        found.client() as client,
    ):
        # Long enough that the first worker is stopped in the middle, and ends it soon after it is woken.
        save(client, chain(node, 1.2))
        with worker(found, "first") as first:
            run = start(client, f"frozen {node}")
            wait_until(
                lambda: run_of(client, run)["tasks"]["running"] == 1, "the first worker runs it", log=found
            )
            frozen_by = client.get(f"/runs/{run}/tasks/a").json()["attempts"][-1]["worker"]
            time.sleep(stopped_after)
            send(first.pid, signal.SIGSTOP)
            with worker(found, "second"):
                if node == "PayInStepNode":
                    _resolve_doubt(client, found, run)
                over = until_over(client, run)
                events = journal(client, run)
                send(first.pid, signal.SIGCONT)
                log = found.folder / "first" / "server.log"
                wait_until(
                    lambda: any(words in log.read_text() for words in HEARD),
                    "it heard that it is late",
                )
                assert over["status"] == "succeeded", over["error"]
                # A second run has work for both: the one that was late is of use again.
                again = start(client, f"frozen {node}")
                assert until_over(client, again)["status"] == "succeeded"
                wait_until(lambda: _both_live(client, first.pid), "both workers have their registration")
            assert journal(client, run) == events, "the late worker changed the run"
        done = [event for event in events if event["kind"] == "task_completed"]
        assert [event["path"] for event in done] == ["a", "b", "end"]
        assert all(event["timing"]["worker"] != frozen_by for event in done), (
            "the frozen worker's result counted"
        )
        lines = [line for line in ledger(found) if line["run"] == run]
        assert len({line["key"] for line in lines if line["path"] == "a" and line["step"] == ""}) <= 1
        assert sum(line["kind"] == "irreversible" for line in lines) <= 1
        tell(
            f"{node}: taken over {seconds_of(done[0]['at']) - seconds_of(events[0]['at']):.2f} s after the start"
        )


def _resolve_doubt(client: object, found: Server, run: str) -> None:
    """The worker stood still in the middle of the step that must not happen twice, or before or behind it."""
    import httpx2

    assert isinstance(client, httpx2.Client)

    def settled() -> bool:
        now = run_of(client, run)
        if now["tasks"]["in_doubt"]:
            # Nobody can know whether a worker that stands still has paid yet: whoever says "retry" here pays twice.
            body = {"action": "done", "output": "pay"}
            assert client.post(f"/runs/{run}/tasks/a/resolve", json=body).status_code == 200
        return now["status"] == "succeeded"

    wait_until(settled, "the doubt is settled", log=found)


def _both_live(client: object, pid: int) -> bool:
    import httpx2

    assert isinstance(client, httpx2.Client)
    workers = client.get("/system").json()["workers"]
    return len(workers) == 2 and any(f"-{pid}-" in worker["worker"] for worker in workers)
