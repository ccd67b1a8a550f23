"""A full disk: what is asked is refused in words or waits; nothing hangs, nothing is lost, and it goes on by itself."""

import contextlib
import resource
import subprocess
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.faults.processes import (
    REALTIME,
    Server,
    journal,
    run_of,
    save,
    server,
    start,
    tell,
    until_over,
    wait_until,
)
from tests.faults.thirty import ledger, seconds_of

pytestmark = [pytest.mark.faults, pytest.mark.slow]

CHAIN: dict[str, Any] = {
    "name": "chain",
    "start_at": "a",
    "nodes": {
        "a": {"class": "LedgerNode", "params": {"value": "{{ input.text | length }}"}, "next_node": "wait"},
        "wait": {"class": "WaitNode", "params": {"signal": "go"}, "next_node": "b"},
        "b": {"class": "LedgerNode", "params": {"seconds": 0.1, "value": 2}, "next_node": "nap"},
        "nap": {"class": "WaitNode", "params": {"for": "200ms"}, "next_node": "c"},
        "c": {"class": "PayNode", "params": {"value": 3}, "next_node": "end"},
        "end": {"class": "EndNode"},
    },
}
GOES_ON_SECONDS = 5.0

Disk = tuple[Path, Callable[[Server], None], Callable[[Server], None]]
"""Where the store lies; how it fills up; how it gets room again."""


@pytest.fixture(params=["tmpfs", "limit"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[Disk]:
    if request.param == "limit":
        yield tmp_path, _limit, _unlimit
        return
    mounted = tmp_path / "disk"
    mounted.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(mounted)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip(f"no disk of 4 MiB can be mounted here: {done.stderr.strip()}")
    try:
        yield mounted, _fill, _empty
    finally:
        subprocess.run(["umount", "--lazy", str(mounted)], check=True)


def _fill(found: Server) -> None:
    with (found.store.parent / "ballast").open("ab", buffering=0) as ballast, contextlib.suppress(OSError):
        while True:
            ballast.write(b"x" * 512)


def _empty(found: Server) -> None:
    (found.store.parent / "ballast").unlink()


def _limit(found: Server) -> None:
    """From here on no file of the server may grow beyond what the log of the store has now."""
    _, hard = resource.prlimit(found.pid, resource.RLIMIT_FSIZE)
    wal = found.store.with_name("store.db-wal")
    resource.prlimit(found.pid, resource.RLIMIT_FSIZE, (wal.stat().st_size, hard))


def _unlimit(found: Server) -> None:
    _, hard = resource.prlimit(found.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(found.pid, resource.RLIMIT_FSIZE, (hard, hard))


def test_a_full_disk_refuses_in_words_and_goes_on_by_itself(disk: Disk, tmp_path: Path) -> None:
    place, fill, empty = disk
    folder = tmp_path / "server"
    folder.mkdir()
    with server(folder, store_at=place / "store.db") as found, found.client() as client:
        save(client, CHAIN)
        runs = [start(client, "chain", input={"text": "x" * 1000}) for _ in range(3)]
        wait_until(
            lambda: all(run_of(client, run)["status"] == "waiting" for run in runs), "they wait", log=found
        )
        running = start(client, "chain", input={"text": ""})
        signal(client, running)
        fill(found)

        refused = _until_refused(client)
        assert refused["code"] in ("store_unavailable", "commit_unknown"), refused
        assert "full" in refused["detail"] or "disk" in refused["detail"], refused
        for run in runs:
            answer = client.post(
                f"/runs/{run}/signals/go", json={"payload": 1}, headers={"Idempotency-Key": run}
            )
            assert answer.status_code in (202, 503), answer.text
            # Reading goes on.
            assert run_of(client, run)["status"] in ("waiting", "running")
        assert client.get("/workflows").status_code == 200
        assert found.process is not None
        assert found.process.poll() is None

        empty(found)
        room_at = time.monotonic()
        again = wait_until(lambda: _started(client), "a run can be started again", log=found)
        goes_on = time.monotonic() - room_at
        for run in [*runs, again]:
            signal(client, run)
        for run in [*runs, running, again]:
            over = until_over(client, run)
            assert over["status"] == "succeeded", over["error"]
            events = journal(client, run)
            assert [e["seq"] for e in events] == list(range(1, len(events) + 1))
            assert [e["path"] for e in events if e["kind"] == "task_completed"] == list(CHAIN["nodes"])
            assert sum(e["kind"] == "signal_received" for e in events) == 1
            assert seconds_of(events[-1]["at"]) > 0
            paid = [line for line in ledger(found) if line["run"] == run and line["kind"] == "irreversible"]
            assert len(paid) == 1
        assert client.get(f"{found.url}/readyz").status_code == 200
        tell(f"{goes_on:.2f} s from room on the disk to the next run that could be started")
        if REALTIME:
            assert goes_on < GOES_ON_SECONDS
        assert found.stop() == 0


def signal(client: httpx2.Client, run: str) -> None:
    answer = client.post(f"/runs/{run}/signals/go", json={"payload": 1}, headers={"Idempotency-Key": run})
    assert answer.status_code == 202, answer.text


def _until_refused(client: httpx2.Client) -> dict[str, Any]:
    """Write until the last page is full, and give the refusal."""
    for number in range(2_000):
        answer = client.post(
            "/workflows/chain/runs", json={"input": {"text": "y" * 20_000}, "labels": {"n": str(number)}}
        )
        if answer.status_code != 201:
            assert answer.status_code == 503, answer.text
            assert answer.headers["content-type"].startswith("application/problem+json")
            return answer.json()
    raise AssertionError("the disk never was full")


def _started(client: httpx2.Client) -> str | None:
    answer = client.post("/workflows/chain/runs", json={"input": {"text": ""}})
    assert answer.status_code in (201, 503), answer.text
    return answer.json()["id"] if answer.status_code == 201 else None
